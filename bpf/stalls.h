/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The records that stalls.bpf.c hands to user space. This header owns their layout: the BPF program includes it, and the
 * Python extension is compiled from it.
 */
#ifndef WHODUNNET_STALLS_H
#define WHODUNNET_STALLS_H

#define DELAY_CLASSES 64 /* 32 of 2048 ns, then two for each power of two: class 32 + 2n begins at 2^(16 + n) ns */
#define COUNTED 8
#define STALL_SAMPLES 128
#define STALL_FRAMES 24

enum stall_kind {
	STALL_LATE, /* NET_RX was raised, and begun late */
	STALL_LONG, /* NET_RX itself ran for long, counted from its raise */
	STALL_THREAD, /* a NAPI thread was woken, and polled late */
	STALL_SILENT, /* no sample came while one task kept the CPU: interrupts were off, or the machine was paused */
	STALL_QUEUED, /* a packet waited in the backlog while those before it were taken up, in several runs of NET_RX */
};

/* One task at one moment. */
struct seen {
	unsigned long long at_ns; /* monotonic clock */
	unsigned long long process_started_ns; /* boot clock */
	unsigned long long cgroup_id; /* of cgroup v2 */
	unsigned long long switches; /* how often this task was taken off a CPU so far */
	unsigned int pid; /* in our pid namespace, 0: not known there */
	unsigned int tid;
	int syscall; /* number for this machine, -1: in none */
	short priority; /* below 100: real time (include/linux/sched/prio.h) */
	unsigned char user; /* it was in user mode */
	unsigned char softirq; /* vector that was being served + 1, 0: none */
	unsigned char kernel_thread;
	unsigned char frames;
	unsigned char traced; /* by a tracepoint, whose functions are then innermost */
	unsigned char padding[5];
	char comm[16]; /* of the process */
	char thread[16];
	unsigned long long stack[STALL_FRAMES]; /* kernel addresses, innermost first */
};

/* A stall when it is over. Only as many samples cross the border as there are. */
struct stall {
	unsigned long long since_ns; /* monotonic clock */
	unsigned long long until_ns;
	unsigned int cpu;
	unsigned int kind;
	unsigned int
		taken; /* samples, of which the last STALL_SAMPLES were kept, in a circle; some may be older than it */
	unsigned int late_tid; /* the NAPI thread that waited */
	unsigned int packets; /* STALL_QUEUED: that left the backlog meanwhile */
	unsigned int padding;
	struct seen end; /* who was current when it was over */
	struct seen samples[STALL_SAMPLES];
};

/*
 * What each softirq touches, of one CPU. Two cache lines, because values of a map do not begin at one, and no two CPUs may
 * write to the same.
 */
struct softirq_state {
	unsigned long long raised_ns; /* the first raise of NET_RX that was not begun yet, 0: none */
	unsigned long long raised_jiffies;
	unsigned long long begun_ns; /* NET_RX; if that was within a tick when it was raised, 0: not known */
	unsigned long long begun_jiffies;
	unsigned long long served_ns; /* a sample met NET_RX running for long, the last one then; 0: that is over */
	unsigned int entered;
	unsigned char serving; /* vector + 1 of the last one that was begun; 0: it has ended, where ends are seen */
	unsigned char padding[83];
};

/* What else is known of one CPU. */
struct softirq_cpu {
	unsigned long long longest_ns; /* of NET_RX from raise to entry, of those that were measured */
	unsigned long long sampled_ns; /* the last sample that was not of the idle task */
	unsigned long long sampled_switches;
	unsigned int sampled_tid; /* in the first pid namespace */
	unsigned int second; /* of the limit of records */
	unsigned int sent; /* in that second */
	unsigned int backlog_last; /* number of the packet that is followed */
	unsigned long long samples; /* all that came */
	unsigned long long longest_served_ns; /* NET_RX from raise until it was last met, or to its exit */
	unsigned long long lost; /* records that found no room */
	unsigned long long suppressed; /* records beyond the limit */
	unsigned long long backlog_since_ns; /* a sample found it to be the last of the backlog, 0: none is followed */
	unsigned long long backlog_seen_ns; /* a sample found it there still */
	unsigned long long longest_queued_ns; /* between the two */
	unsigned int backlog_first; /* how many had left the backlog when that packet was its last */
	unsigned int backlog_left; /* and when it was seen there last */
	unsigned long long padding2[3];

	unsigned long long delays[DELAY_CLASSES]; /* of NET_RX; below a tick one in COUNTED, as so many */
	unsigned long long thread_delays[DELAY_CLASSES]; /* of NAPI threads that waited for this CPU before a poll */
};

/* A NAPI thread. */
struct napi_thread {
	unsigned long long run_delay_ns; /* how long it has waited for a CPU, as of its last poll */
	unsigned long long polled_ns; /* 0: not seen yet */
};

/* User space sets the upper part. */
struct stall_watch {
	unsigned long long threshold_ns;
	unsigned long long sample_after_ns; /* what has waited for less is not looked at */
	unsigned long long tick_ns;
	unsigned long long silent_ns; /* so long without a sample is worth a record */
	long long preempt_count; /* where it is, from the run queue of its CPU; 0: not known */
	long long softnet_data; /* likewise */
	unsigned int records_per_second; /* of each CPU */
	unsigned int pid_level_above; /* how far the pid namespace of our procfs is above ours */
	unsigned int sample_always; /* NAPI threads are watched, of which nothing says when they begin to wait */

	unsigned int pid_level; /* depth of the pid namespace of our procfs */
	unsigned int pid_namespace; /* its inode */
	unsigned int sees_softirqs; /* samples can tell whether one is being served */
};

#endif
