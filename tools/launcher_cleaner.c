/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes the directory, and removes it when the tool has ended, whatever ended it.
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

/* What the cleaner says: errno, or the end of the name that it has given. */
struct answer {
	int error;
	char end[6];
};

static _Noreturn void keep(int ended, int asked, struct place *place)
{
	struct answer answer = {0};
	sigset_t all;
	int directory;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, "whodunnet-clean");
	answer.error = mkdtemp(place->path) ? 0 : errno;
	memcpy(answer.end, place->path + strlen(place->path) - sizeof(answer.end), sizeof(answer.end));
	directory = answer.error ? -1 : open(place->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (write(asked, &answer, sizeof(answer)) != sizeof(answer)) {
		/* nobody is left to be told, and what was made goes as it would have gone */
	}
	close_all_but(ended, directory);
	if (directory < 0 || chdir("/"))
		_exit(1);
	while (read(ended, &byte, 1) < 0 && errno == EINTR)
		;
	empty(directory);
	rmdir(place->path);
	_exit(0);
}

/* In a session of its own, as the child of nobody here. */
static bool start_keeper(int ended, int asked, struct place *place)
{
	int status = 1;
	pid_t child = fork();

	if (child == 0) {
		pid_t grandchild = setsid() < 0 ? -1 : fork();

		if (grandchild == 0) {
			close(place->alive);
			keep(ended, asked, place);
		}
		_exit(grandchild < 0 ? errno : 0);
	}
	if (child < 0)
		return false;
	errno = waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : EAGAIN;
	return !errno;
}

/*
 * A process that makes the directory and removes it: it outlives us, even if we are killed, and nobody can come between. The
 * path has to end in XXXXXX.
 */
bool start_cleaner(struct place *place)
{
	struct answer answer = {.error = EAGAIN};
	int ends[2], answers[2];
	bool started;

	if (pipe(ends))
		return false;
	place->alive = fcntl(ends[1], F_DUPFD, FIRST_FD);
	close(ends[1]);
	if (place->alive < 0 || pipe(answers)) {
		close(ends[0]);
		return false;
	}
	started = start_keeper(ends[0], answers[1], place);
	close(ends[0]);
	close(answers[1]);
	if (started) {
		if (read(answers[0], &answer, sizeof(answer)) != sizeof(answer))
			answer.error = EAGAIN;
		memcpy(place->path + strlen(place->path) - sizeof(answer.end), answer.end, sizeof(answer.end));
		errno = answer.error;
	}
	close(answers[0]);
	return started && !answer.error;
}

/* What is on a disk is the cleaner's to remove. */
void leave(struct place *place)
{
	if (place->fd >= 0)
		close(place->fd);
	if (place->alive >= 0)
		close(place->alive);
}
