/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the bundle's launcher share.
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define BUNDLE "WHODUNNET_BUNDLE="
#define FIRST_FD 10 /* 0 to 2 may be closed, and must not become ours */

/* fd: of the directory, open across exec; the place is reached by this number only.
 * alive: write end of the pipe whose closing tells the cleaner that we ended, or -1.
 * path: of the directory, where there is one on a disk.
 */
struct place {
	const char *name;
	int fd, alive;
	char path[PATH_MAX];
};

/* launcher_payload.c */
extern const char *open_payload(const char *self);
extern uint64_t room_needed(void);
extern bool unpack(int directory);
extern bool is_damaged(void);

/* launcher_cleaner.c */
extern bool start_cleaner(struct place *place);
extern void leave(struct place *place);

#endif
