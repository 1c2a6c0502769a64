/* SPDX-License-Identifier: Apache-2.0
 *
 * The first bytes of the one-file bundle: unpacks the rest of the file to a private place and becomes its interpreter.
 * Static, so that it runs whatever C library is here. docs/decisions/0009-own-launcher.md says why it is ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "launcher.h"

#define EXIT_UNJUDGED 2
#define SELF "/proc/self/exe"

/* What the command was called with. path: of the bundle itself. */
struct command {
	char path[PATH_MAX];
	int count;
	char **arguments, **variables;
};

static char tried[4096];

static _Noreturn __attribute__((format(printf, 1, 2))) void stop(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("whodunnet: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	exit(EXIT_UNJUDGED);
}

static void note(const char *name, const char *reason)
{
	size_t used = strlen(tried);

	snprintf(tried + used, sizeof(tried) - used, "%s%s: %s", used ? "; " : "", name, reason);
}

/* In no directory at all: memory that goes when the process goes. Needs CAP_SYS_ADMIN and Linux 5.2. */
static int detached_tmpfs(void)
{
	char size[32];
	int mount = -1, context = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (context < 0)
		return -1;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)room_needed());
	if (!fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) &&
	    !fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) &&
	    !fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	close(context);
	return mount;
}

/* Why nothing should be unpacked there, or NULL. */
static const char *unfit(const char *name)
{
	struct stat info;
	struct statvfs system;

	if (*name != '/')
		return "not an absolute path";
	if (stat(name, &info) || statvfs(name, &system) || access(name, W_OK))
		return strerror(errno);
	if ((info.st_uid && info.st_uid != geteuid()) || ((info.st_mode & 022) && !(info.st_mode & S_ISVTX)))
		return "others may rename what is in it";
	if (system.f_flag & ST_NOEXEC)
		return "mounted noexec";
	if (system.f_blocks && system.f_bavail * system.f_frsize < room_needed())
		return "not enough room";
	return NULL;
}

static int own_directory(struct place *place)
{
	if (snprintf(place->path, sizeof(place->path), "%s/whodunnet.XXXXXX", place->name) >=
	    (int)sizeof(place->path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return start_cleaner(place) ? open(place->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
}

/* Without what would change how the loader and the interpreter work. */
static char **clean_environment(char **variables, const char *home, const char *path)
{
	static const char *const unwanted[] = {"PYTHON", "LD_", "GLIBC_", "GCONV_PATH=", "LC_ALL=", BUNDLE};
	size_t count = 0;

	while (variables[count])
		count++;
	char **kept = calloc(count + 4, sizeof(*kept)), **next = kept;

	for (; kept && *variables; variables++) {
		bool wanted = true;

		for (size_t i = 0; i < sizeof(unwanted) / sizeof(*unwanted); i++)
			wanted &= strncmp(*variables, unwanted[i], strlen(unwanted[i])) != 0;
		if (wanted)
			*next++ = *variables;
	}
	/* No locale of the node's: its format may be that of another C library. Python's text is UTF-8 all the same. */
	if (!kept || asprintf(next, "PYTHONHOME=%s", home) < 0 || asprintf(next + 1, "LC_ALL=C") < 0 ||
	    asprintf(next + 2, BUNDLE "%s", path) < 0)
		stop("there is no memory left to start");
	return kept;
}

/* Returns only if it fails. The loader is a file of ours, named as the process shall be, so the node's is not used. */
static void become(int place, const struct command *command)
{
	char home[32], loader[64], libraries[64], python[64], script[64];
	char *first[] = {loader, "--inhibit-cache", "--library-path", libraries, python, "-BPS", "-Xutf8", script};
	size_t own = sizeof(first) / sizeof(*first);
	char **words = calloc(own + command->count + 1, sizeof(*words));
	sigset_t interrupt, before;

	if (!words)
		stop("there is no memory left to start");
	snprintf(home, sizeof(home), "/proc/self/fd/%d", place);
	snprintf(loader, sizeof(loader), "%s/bin/whodunnet", home);
	snprintf(libraries, sizeof(libraries), "%s/lib", home);
	snprintf(python, sizeof(python), "%s/bin/python", home);
	snprintf(script, sizeof(script), "%s/start.pyc", home);
	memcpy(words, first, sizeof(first));
	for (int i = 1; i < command->count; i++)
		words[own + i - 1] = command->arguments[i];
	/* Python loses one that comes while it starts (Modules/main.c: pymain_get_importer); cli/start.py lets it through. */
	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	sigprocmask(SIG_BLOCK, &interrupt, &before);
	execve(loader, words, clean_environment(command->variables, home, command->path));
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Unpacks to one place, NULL for a tmpfs, and runs there; returns if that place does not do. */
static void try_place(const char *name, const struct command *command)
{
	struct place place = {.name = name ? name : "a tmpfs of its own", .fd = -1, .alive = -1};
	const char *reason = name ? unfit(name) : NULL;
	int fd;

	if (reason) {
		note(name, reason);
		return;
	}
	fd = name ? own_directory(&place) : detached_tmpfs();
	place.fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD, FIRST_FD); /* the number survives exec, and is none of 0 to 2 */
	if (place.fd >= 0 && unpack(place.fd))
		become(place.fd, command);
	note(place.name, strerror(errno));
	if (fd >= 0)
		close(fd);
	leave(&place);
	if (is_damaged())
		stop("%s is damaged: copy it again, and compare its SHA-256 sum", command->path);
}

int main(int count, char **arguments, char **variables)
{
	static const char *const usual[] = {"/tmp", "/var/tmp", "/dev/shm", "/run"};
	static struct command command;
	static char here[PATH_MAX];
	const char *wished = getenv("TMPDIR"), *home = getenv("HOME"), *reason;

	command = (struct command){.count = count, .arguments = arguments, .variables = variables};
	if (readlink(SELF, command.path, sizeof(command.path) - 1) < 0)
		stop("there is no /proc of this pid namespace: mount it (mount -t proc proc /proc) and run this again");
	reason = open_payload(SELF);
	if (reason)
		stop("%s: %s: copy it again, and compare its SHA-256 sum", command.path, reason);
	try_place(NULL, &command);
	if (wished && *wished)
		try_place(wished, &command);
	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
		try_place(usual[i], &command);
	if (home && *home)
		try_place(home, &command);
	if (getcwd(here, sizeof(here)))
		try_place(here, &command);
	stop("there is no place to unpack %llu MB (%s); set TMPDIR to a directory that is yours, has this room and is "
	     "not mounted noexec",
	     (unsigned long long)(room_needed() >> 20) + 1, tried);
}
