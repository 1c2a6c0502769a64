/* SPDX-License-Identifier: GPL-2.0-only */
/* Every difference between kernels that our programs must know, each with the commit that made it. */
#ifndef WHODUNNET_COMPAT_BPF_H
#define WHODUNNET_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Before "fs: port files to file_ref" (6.13) a file counted its references in f_count, from one instead of zero. */
struct file___before_file_ref {
	atomic_long_t f_count;
} __attribute__((preserve_access_index));

static __always_inline long file_references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return BPF_CORE_READ((struct file___before_file_ref *)file, f_count.counter);
}

/* "net: add sk->sk_drop_counters" and "udp: use numa_drop_counters" (6.18): two counters of a socket, elsewhere. */
static __always_inline __u32 socket_drops(struct sock *sk)
{
	struct numa_drop_counters *counters;

	if (bpf_core_field_exists(sk->sk_drop_counters)) {
		counters = BPF_CORE_READ(sk, sk_drop_counters);
		if (counters)
			return BPF_CORE_READ(counters, drops0.counter) + BPF_CORE_READ(counters, drops1.counter);
	}
	return BPF_CORE_READ(sk, sk_drops.counter);
}

/*
 * "tcp: allocate tcp_death_row outside of struct netns_ipv4" made it a pointer; "tcp: Don't allocate tcp_death_row
 * outside of struct netns_ipv4" (6.1) took that back.
 */
struct netns_ipv4___pointer {
	struct inet_timewait_death_row *tcp_death_row;
} __attribute__((preserve_access_index));

struct net___pointer {
	struct netns_ipv4___pointer ipv4;
} __attribute__((preserve_access_index));

static __always_inline struct inet_hashinfo *net_hashinfo(struct net *net)
{
	if (bpf_core_field_size(net->ipv4.tcp_death_row) > sizeof(void *))
		return BPF_CORE_READ(net, ipv4.tcp_death_row.hashinfo);
	return BPF_CORE_READ((struct net___pointer *)net, ipv4.tcp_death_row, hashinfo);
}

/* Since "tcp: trace retransmit failures in tcp_retransmit_skb" (6.17) the tracepoint fires also for what could not be sent. */
static __always_inline bool tells_of_failed_repeats(void)
{
	return bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err);
}

/*
 * Since then also for what was not even tried, which shows in the segment: it has never been repeated. Kernels before mark
 * it only afterwards.
 */
static __always_inline bool was_retransmitted(const struct sk_buff *skb)
{
	const struct tcp_skb_cb *control = (const struct tcp_skb_cb *)skb->cb;

	if (!tells_of_failed_repeats())
		return true;
	return BPF_CORE_READ(control, sacked) & 0x80; /* TCPCB_EVER_RETRANS, include/net/tcp.h */
}

/*
 * The system call that the current task is in, -1: in none, or not known: before "bpf: Introduce bpf_task_pt_regs" (5.15),
 * by the numbers of 32-bit programs (TS_COMPAT, TIF_32BIT), or on another machine than these.
 */
static __always_inline int system_call(struct task_struct *task)
{
	struct pt_regs *registers;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return -1;
	registers = (struct pt_regs *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_x86)
	return task->thread_info.status & 2 ? -1 : registers->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	return task->thread_info.flags >> 22 & 1 ? -1 : registers->syscallno;
#else
	return -1;
#endif
}

/*
 * Whether a softirq is being served is in preempt_count(). On x86 it is a variable of each CPU, which was in struct
 * pcpu_hot from "x86/percpu: Move preempt_count next to current_task" (6.2) to "x86/preempt: Move preempt count to percpu
 * hot section" (6.15); on arm64 it is in thread_info. With PREEMPT_RT each task has a count of its own for softirqs.
 *
 * A variable of a CPU is found by its distance to the run queue of that CPU, which BTF tells and tasks point to: as a
 * symbol (bpf_this_cpu_ptr) it could be had only with CONFIG_KALLSYMS_ALL.
 */
struct pcpu_hot {
	int preempt_count;
} __attribute__((preserve_access_index));

struct task_struct___rt {
	int softirq_disable_cnt;
} __attribute__((preserve_access_index));

/* The run queue of the CPU that this task is on; NULL: without CONFIG_FAIR_GROUP_SCHED nothing points to it. */
static __always_inline void *run_queue(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->se.cfs_rq))
		return NULL;
	return BPF_CORE_READ(task, se.cfs_rq, rq);
}

#define SOFTIRQ_OFFSET 0x100 /* include/linux/preempt.h; sections without softirqs count above it */

/*
 * Whether the current task was interrupted by a softirq, or serves them; -1: not to be seen here. distance: from the run
 * queue to the variable, 0: not known.
 */
static __always_inline int serves_softirq(struct task_struct *task, long distance)
{
	int count = 0;

	if (bpf_core_field_exists(((struct task_struct___rt *)task)->softirq_disable_cnt)) {
		count = BPF_CORE_READ((struct task_struct___rt *)task, softirq_disable_cnt);
	} else {
#if defined(__TARGET_ARCH_x86)
		void *queue = run_queue(task);

		if (!distance || !queue)
			return -1;
		if (bpf_core_field_exists(((struct pcpu_hot *)NULL)->preempt_count))
			distance += bpf_core_field_offset(struct pcpu_hot, preempt_count);
		bpf_probe_read_kernel(&count, sizeof(count), queue + distance);
#elif defined(__TARGET_ARCH_arm64)
		count = task->thread_info.preempt_count;
#else
		return -1;
#endif
	}
	return !!(count & SOFTIRQ_OFFSET);
}

#endif
