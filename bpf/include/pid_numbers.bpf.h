/* SPDX-License-Identifier: GPL-2.0-only */
/* The numbers of tasks as user space knows them: those of the pid namespace of its procfs. */
#ifndef WHODUNNET_PID_NUMBERS_BPF_H
#define WHODUNNET_PID_NUMBERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Where struct pid has its number of that depth. It has no more than its own depth. */
static __always_inline void *number_at(struct pid *pid, unsigned int level)
{
	return (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);
}

static __always_inline unsigned int namespace_at(struct pid *pid, unsigned int level)
{
	struct pid_namespace *namespace = NULL;

	bpf_probe_read_kernel(&namespace, sizeof(namespace),
			      number_at(pid, level) + bpf_core_field_offset(struct upid, ns));
	return BPF_CORE_READ(namespace, ns.inum);
}

/* In the pid namespace of that depth and inode, 0: it has none there. outside: its number in the first one. */
static __always_inline int number_of(struct task_struct *task, int outside, unsigned int level, unsigned int namespace)
{
	struct pid *pid;
	int number = 0;

	if (!level)
		return outside;
	pid = BPF_CORE_READ(task, thread_pid);
	if (BPF_CORE_READ(pid, level) < level || namespace_at(pid, level) != namespace)
		return 0;
	bpf_probe_read_kernel(&number, sizeof(number), number_at(pid, level) + bpf_core_field_offset(struct upid, nr));
	return number;
}

/* Of the current task: the depth and inode of the pid namespace so far above its own. */
static __always_inline void find_namespace(unsigned int above, unsigned int *level, unsigned int *namespace)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);

	*level = BPF_CORE_READ(pid, level) - above;
	*namespace = namespace_at(pid, *level);
}

#endif
