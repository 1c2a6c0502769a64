/* SPDX-License-Identifier: Apache-2.0
 *
 * Removes the directory when the tool has ended, whatever ended it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "launcher.h"

/* Removes what a directory holds; without following links, and silently, since nobody is left to be told. */
static void empty(int directory)
{
	DIR *list = fdopendir(dup(directory));

	if (!list)
		return;
	rewinddir(list);
	for (struct dirent *entry; (entry = readdir(list));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(directory, entry->d_name, 0) == 0)
			continue;
		int inner = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (inner >= 0) {
			empty(inner);
			close(inner);
			unlinkat(directory, entry->d_name, AT_REMOVEDIR);
		}
	}
	closedir(list);
}

/* An open output would keep whoever reads it waiting for us. */
static void close_all_but(int first, int second)
{
	DIR *list = opendir("/proc/self/fd");

	for (struct dirent *entry; list && (entry = readdir(list));) {
		int fd = atoi(entry->d_name);

		if (fd != first && fd != second && fd != dirfd(list))
			close(fd);
	}
	if (list)
		closedir(list);
}

static _Noreturn void clean_up_after(int ended, const struct place *place)
{
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, "whodunnet-clean");
	close_all_but(ended, place->fd);
	if (chdir("/"))
		_exit(1);
	while (read(ended, &byte, 1) < 0 && errno == EINTR)
		;
	empty(place->fd);
	rmdir(place->path);
	_exit(0);
}

/* A process of its own session that outlives us, even if we are killed, and removes the directory. */
bool start_cleaner(struct place *place)
{
	int ends[2], status = 1;
	pid_t child;

	if (pipe(ends))
		return false;
	place->alive = fcntl(ends[1], F_DUPFD, FIRST_FD);
	close(ends[1]);
	child = place->alive < 0 ? -1 : fork();
	if (child == 0) {
		pid_t grandchild = setsid() < 0 ? -1 : fork();

		if (grandchild == 0) {
			close(place->alive);
			clean_up_after(ends[0], place);
		}
		_exit(grandchild < 0 ? errno : 0);
	}
	close(ends[0]);
	if (child > 0 && waitpid(child, &status, 0) == child && !status)
		return true;
	errno = child > 0 ? EAGAIN : errno;
	return false;
}

void leave(struct place *place)
{
	if (place->fd >= 0 && *place->path) {
		empty(place->fd);
		rmdir(place->path);
	}
	if (place->fd >= 0)
		close(place->fd);
	if (place->alive >= 0)
		close(place->alive);
}
