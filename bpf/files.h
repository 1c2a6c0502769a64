/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The records that files.bpf.c hands to user space. This header owns their layout: the BPF program includes it, and the
 * Python extension is compiled from it.
 */
#ifndef WHODUNNET_FILES_H
#define WHODUNNET_FILES_H

struct refused_key {
	unsigned long long started_ns; /* boot clock */
	unsigned int pid; /* in our pid namespace */
	unsigned int padding;
};

struct refused_process {
	unsigned long long times;
	char comm[16];
};

/* User space sets the upper part. */
struct refusal_watch {
	unsigned int pid_level_above; /* how far the pid namespace of our procfs is above ours */

	unsigned int pid_level; /* depth of the pid namespace of our procfs */
	unsigned int pid_namespace; /* its inode */
	unsigned int sees_calls; /* the system call that a task is in is known here */
	unsigned long long left_out; /* refusals of processes that found no room, or have no number there */
};

#endif
