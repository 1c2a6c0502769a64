// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long received packets wait until the kernel takes them up, and who held the CPU meanwhile. For each CPU: from the
 * first raise of the softirq NET_RX until it begins (include/trace/events/irq.h), how long it runs, and samples of what
 * runs while it waits. What happens for each softirq is a few instructions here and touches one cache line; samples
 * are taken by a clock, and cost little unless something waits.
 *
 * The way into a program costs more than what is done in it. So there are two for each softirq, and that one has ended
 * is seen by the samples, unless there are none. Not on sched_switch, which would tell who ran before ksoftirqd did: it
 * fires too often.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "compat.bpf.h"
#include "pid_numbers.bpf.h"
#include "stalls.h"

#define NET_RX 3 /* include/linux/interrupt.h */
#define PF_VCPU 0x00000001 /* the guest of a virtual machine runs */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define LINEAR_CLASSES 32
#define LINEAR_SHIFT 11 /* 2048 ns each */
#define FIRST_POWER 16 /* LINEAR_CLASSES << LINEAR_SHIFT is 2^16 */
#define SECOND_SHIFT 30 /* nearly a second, without a division */

char LICENSE[] SEC("license") = "GPL";

/*
 * User space makes these as large as the machine has CPUs. Arrays, for per-CPU maps are not inlined before 6.10. The first
 * is not mapped there: what may be is in small pages (vmalloc), and to find one is a good part of what a softirq costs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct softirq_state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct softirq_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stall);
} recorders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct napi_thread);
} napi_threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} stalls SEC(".maps");

struct stall_watch watch SEC(".data.watch") = {};

static __always_inline struct softirq_state *this_state(void)
{
	__u32 number = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&states, &number);
}

static __always_inline struct softirq_cpu *this_cpu(void)
{
	__u32 number = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpus, &number);
}

static __noinline __u64 delay_class(__u64 ns)
{
	__u32 power = FIRST_POWER;

	if (ns < 1 << FIRST_POWER)
		return ns >> LINEAR_SHIFT;
	if (ns >> 31)
		return DELAY_CLASSES - 1;
	if (ns >> (power + 8))
		power += 8;
	if (ns >> (power + 4))
		power += 4;
	if (ns >> (power + 2))
		power += 2;
	if (ns >> (power + 1))
		power += 1;
	return LINEAR_CLASSES + 2 * (power - FIRST_POWER) + (ns >> (power - 1) & 1);
}

static __always_inline void count_delay(__u64 *classes, __u64 ns, __u32 times)
{
	__u64 class = ns < 1 << FIRST_POWER ? ns >> LINEAR_SHIFT : delay_class(ns);

	if (class < DELAY_CLASSES)
		classes[class] += times;
}

static __always_inline void copy_name(char *to, struct task_struct *task)
{
	__u64 *from = (__u64 *)task->comm;

	((__u64 *)to)[0] = from[0];
	((__u64 *)to)[1] = from[1];
}

/*
 * Whoever is current. In user mode there is no kernel stack. What else belongs to it is copied: for a pointer in what the
 * verifier trusts it goes through the names of all types of the kernel, each time it comes by (btf_nested_type_is_trusted).
 */
static __always_inline void see(struct seen *seen, void *ctx, __u64 now, __u8 serving, bool traced)
{
	struct task_struct *task = bpf_get_current_task_btf(), *leader = BPF_CORE_READ(task, group_leader);
	long bytes = bpf_get_stack(ctx, seen->stack, sizeof(seen->stack), 0);

	seen->at_ns = now;
	seen->process_started_ns = BPF_CORE_READ(leader, start_boottime);
	seen->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	seen->switches = task->nvcsw + task->nivcsw;
	seen->pid = number_of(leader, task->tgid, watch.pid_level, watch.pid_namespace);
	seen->tid = number_of(task, task->pid, watch.pid_level, watch.pid_namespace);
	seen->priority = task->prio;
	seen->frames = bytes > 0 ? bytes / sizeof(seen->stack[0]) : 0;
	seen->user = !bytes || task->flags & PF_VCPU;
	seen->softirq = serving;
	seen->traced = traced;
	seen->kernel_thread = !!(task->flags & PF_KTHREAD);
	seen->syscall = seen->user || seen->kernel_thread ? -1 : system_call(task);
	BPF_CORE_READ_INTO(&seen->comm, leader, comm);
	copy_name(seen->thread, task);
}

/* No more than so many records of one CPU in a second. */
static __always_inline bool has_room(struct softirq_cpu *cpu, __u64 now, __u32 limit)
{
	__u32 second = now >> SECOND_SHIFT;

	if (cpu->second != second) {
		cpu->second = second;
		cpu->sent = 0;
	}
	if (cpu->sent >= limit)
		return false;
	cpu->sent++;
	return true;
}

static __always_inline bool is_allowed(struct softirq_cpu *cpu, __u64 now)
{
	if (has_room(cpu, now, watch.records_per_second))
		return true;
	cpu->suppressed++;
	return false;
}

static __noinline int send(struct softirq_cpu *cpu, struct stall *stall)
{
	__u64 size = sizeof(*stall) - sizeof(stall->samples) + (__u64)stall->taken * sizeof(struct seen);

	if (size > sizeof(*stall))
		size = sizeof(*stall);
	if (bpf_ringbuf_output(&stalls, stall, size, 0))
		cpu->lost++;
	return 0;
}

/* Samples of the time before `since` are of another stall; what NET_RX did while it was raised anew is of this one too. */
static __always_inline void begin_samples(struct stall *stall, __u64 since)
{
	__u32 last = (stall->taken - 1) % STALL_SAMPLES;

	if (stall->taken && stall->samples[last].at_ns < since && !watch.sample_always)
		stall->taken = 0;
}

/* The recorder of this CPU, with samples of what came since; NULL: there is none. */
static __always_inline struct stall *this_recorder(__u64 since)
{
	__u32 number = bpf_get_smp_processor_id();
	struct stall *stall = bpf_map_lookup_elem(&recorders, &number);

	if (stall)
		begin_samples(stall, since);
	return stall;
}

/* A stall that is over, in the head of its record. */
static __always_inline void fill(struct stall *stall, __u32 kind, __u64 since, __u64 until)
{
	stall->since_ns = since;
	stall->until_ns = until;
	stall->cpu = bpf_get_smp_processor_id();
	stall->kind = kind;
	stall->late_tid = 0;
	stall->packets = 0;
}

/* The vector that is being served + 1, 0: none. */
static __always_inline __u8 serving_now(const struct softirq_state *state)
{
	return serves_softirq(bpf_get_current_task_btf(), watch.preempt_count) ? state->serving : 0;
}

static __noinline int end_stall(void *ctx, __u32 kind, __u64 since, __u64 until)
{
	struct softirq_state *state = this_state();
	struct softirq_cpu *cpu = this_cpu();
	struct stall *stall;

	if (!state || !cpu)
		return 0;
	stall = this_recorder(since);
	if (!stall || !is_allowed(cpu, until))
		return 0;
	fill(stall, kind, since, until);
	see(&stall->end, ctx, until, serving_now(state), kind != STALL_SILENT);
	if (kind == STALL_THREAD)
		stall->late_tid = stall->end.tid;
	return send(cpu, stall);
}

/* The last sample is the end of it. */
static __always_inline void send_sampled(struct softirq_cpu *cpu, struct stall *stall)
{
	stall->end = stall->samples[(stall->taken - 1) % STALL_SAMPLES];
	send(cpu, stall);
}

/* NET_RX has run for long and has ended since: it ran until a sample last met it, or longer. That sample is the end. */
static __noinline int end_long(struct softirq_state *state)
{
	__u64 since = state->begun_ns, until = state->served_ns;
	struct softirq_cpu *cpu = this_cpu();
	struct stall *stall;

	state->served_ns = 0;
	if (!cpu || !since || until < since)
		return 0;
	if (until - since > cpu->longest_served_ns)
		cpu->longest_served_ns = until - since;
	if (until - since < watch.threshold_ns)
		return 0;
	stall = this_recorder(since);
	if (!stall || !stall->taken || !is_allowed(cpu, until))
		return 0;
	fill(stall, STALL_LONG, since, until);
	send_sampled(cpu, stall);
	return 0;
}

SEC("tp_btf/softirq_raise")
int BPF_PROG(raise_softirq, unsigned int vector)
{
	struct softirq_state *state;

	if (vector != NET_RX)
		return 0;
	state = this_state();
	if (state && !state->raised_ns) {
		state->raised_jiffies = bpf_jiffies64();
		state->raised_ns = bpf_ktime_get_ns();
	}
	return 0;
}

static __noinline int keep_delay(void *ctx, struct softirq_state *state, __u64 raised, __u64 jiffies)
{
	struct softirq_cpu *cpu = this_cpu();
	__u64 now = bpf_ktime_get_ns(), delay;

	if (!cpu || !raised || now < raised)
		return 0;
	delay = now - raised;
	if (delay >= watch.tick_ns) {
		state->begun_ns = now;
		state->served_ns = 0; /* a sample may have come between */
		count_delay(cpu->delays, delay, 1);
	} else {
		/* Every one that a tick fell into comes here, of the others one in COUNTED. */
		count_delay(cpu->delays, delay, state->raised_jiffies == jiffies ? COUNTED : 1);
	}
	if (delay > cpu->longest_ns)
		cpu->longest_ns = delay;
	if (delay >= watch.threshold_ns)
		end_stall(ctx, STALL_LATE, raised, now);
	return 0;
}

/*
 * Without the clock where it is not needed, for that would be a good part of our cost: what took a tick has seen jiffies
 * change, and is measured; of the others one in COUNTED.
 */
SEC("tp_btf/softirq_entry")
int BPF_PROG(enter_softirq, unsigned int vector)
{
	struct softirq_state *state = this_state();
	__u64 raised, jiffies;

	if (!state)
		return 0;
	if (state->served_ns)
		end_long(state);
	if (vector == NET_RX)
		state->begun_ns = 0; /* before a sample takes the last run for this one */
	barrier();
	state->serving = vector + 1;
	if (vector != NET_RX)
		return 0;
	raised = state->raised_ns;
	state->raised_ns = 0; /* now, for an interrupt may raise it again before we are done */
	jiffies = bpf_jiffies64();
	state->begun_ns = raised;
	state->begun_jiffies = jiffies;
	if (state->raised_jiffies != jiffies || ++state->entered % COUNTED == 0)
		keep_delay(ctx, state, raised, jiffies);
	return 0;
}

static __noinline int keep_run(void *ctx, const struct softirq_state *state)
{
	__u64 now = bpf_ktime_get_ns(), served = now - state->begun_ns;
	struct softirq_cpu *cpu = this_cpu();

	if (!cpu)
		return 0;
	if (served > cpu->longest_served_ns)
		cpu->longest_served_ns = served;
	if (served >= watch.threshold_ns)
		end_stall(ctx, STALL_LONG, state->begun_ns, now);
	return 0;
}

/* Attached only while samples cannot tell that a softirq has ended. */
SEC("tp_btf/softirq_exit")
int BPF_PROG(exit_softirq, unsigned int vector)
{
	struct softirq_state *state = this_state();

	if (!state)
		return 0;
	if (vector == NET_RX && state->begun_ns && state->begun_jiffies != bpf_jiffies64())
		keep_run(ctx, state);
	state->served_ns = 0;
	state->serving = 0;
	return 0;
}

/* Attached only while NAPI threads are watched. What softirqs poll is not of them. */
SEC("tp_btf/napi_poll")
int BPF_PROG(poll_napi)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 now, waited, total;
	struct napi_thread *thread;
	struct softirq_cpu *cpu;
	__u32 tid;

	if (!(task->flags & PF_KTHREAD) || !bpf_core_field_exists(struct sched_info, run_delay)) /* CONFIG_SCHED_INFO */
		return 0;
	tid = task->pid;
	thread = bpf_map_lookup_elem(&napi_threads, &tid);
	cpu = this_cpu();
	if (!thread || !cpu)
		return 0;
	now = bpf_ktime_get_ns();
	total = task->sched_info.run_delay;
	waited = total - thread->run_delay_ns;
	thread->run_delay_ns = total;
	if (!thread->polled_ns)
		waited = 0;
	thread->polled_ns = now;
	if (!waited || waited > now)
		return 0;
	count_delay(cpu->thread_delays, waited, 1);
	if (waited >= watch.threshold_ns)
		end_stall(ctx, STALL_THREAD, now - waited, now);
	return 0;
}

/*
 * Since when NET_RX runs here, or waits to; 0: neither. A kernel without softnet_data.in_net_rx_action raises it again while
 * it runs.
 */
static __always_inline __u64 waits_since(const struct softirq_state *state, __u8 serving)
{
	return serving == NET_RX + 1 && state->begun_ns ? state->begun_ns : state->raised_ns;
}

/*
 * The packet was taken up since a sample last found it waiting. Whether another stall tells of that is for the rule to
 * judge. Half of the room for records is left to the others.
 */
static __noinline int end_wait(struct softirq_cpu *cpu)
{
	__u64 since = cpu->backlog_since_ns, until = cpu->backlog_seen_ns;
	struct stall *stall;

	if (until < since)
		return 0;
	if (until - since > cpu->longest_queued_ns)
		cpu->longest_queued_ns = until - since;
	if (until - since < watch.threshold_ns)
		return 0;
	stall = this_recorder(since);
	if (!stall || !stall->taken || !has_room(cpu, until, watch.records_per_second / 2))
		return 0;
	fill(stall, STALL_QUEUED, since, until);
	stall->packets = cpu->backlog_left - cpu->backlog_first;
	send_sampled(cpu, stall);
	return 0;
}

/* Nothing waits here any more. */
static __always_inline void end_backlog(struct softirq_cpu *cpu)
{
	if (cpu->backlog_since_ns)
		end_wait(cpu);
	cpu->backlog_since_ns = 0;
}

/*
 * NET_RX gives way after two ticks and is raised again (net_rx_action in net/core/dev.c): no run of it is long, and who
 * came last waits for several. So the last packet of the backlog is followed until it has left, as the kernel numbers them
 * (softnet_data.input_queue_tail). What began and ended within one run is told by that. run: since when it goes on.
 */
static __noinline int follow_backlog(struct softirq_cpu *cpu, __u64 run, __u64 now)
{
	void *queue = run_queue(bpf_get_current_task_btf());
	struct softnet_data *backlog = queue + watch.softnet_data;
	__u32 waiting, last, left;

	if (!bpf_core_field_exists(struct softnet_data, input_queue_tail)) /* CONFIG_RPS */
		return 0;
	if (!queue || !cpu)
		return 0;
	waiting = BPF_CORE_READ(backlog, input_pkt_queue.qlen) + BPF_CORE_READ(backlog, process_queue.qlen);
	last = BPF_CORE_READ(backlog, input_queue_tail); /* later: whoever came between has left rather than waits */
	left = last - waiting;
	if (cpu->backlog_since_ns && (__s32)(cpu->backlog_last - left) > 0) {
		cpu->backlog_seen_ns = now;
		cpu->backlog_left = left;
		return 0;
	}
	if (cpu->backlog_since_ns && cpu->backlog_since_ns < run)
		end_wait(cpu);
	cpu->backlog_since_ns = waiting ? now : 0;
	cpu->backlog_seen_ns = now;
	cpu->backlog_last = last;
	cpu->backlog_first = cpu->backlog_left = left;
	return 0;
}

static __noinline int keep_sample(void *ctx, struct softirq_state *state, __u64 since, __u64 now, __u8 serving)
{
	struct stall *stall = this_recorder(since);

	if (!stall)
		return 0;
	see(&stall->samples[stall->taken % STALL_SAMPLES], ctx, now, serving, false);
	stall->taken++;
	if (serving == NET_RX + 1 && state->begun_ns && now - state->begun_ns >= watch.sample_after_ns)
		state->served_ns = now;
	return 0;
}

static __always_inline bool was_silent(const struct softirq_cpu *cpu, __u32 tid, __u64 switches, __u64 now)
{
	return cpu->sampled_tid == tid && cpu->sampled_switches == switches && now - cpu->sampled_ns >= watch.silent_ns;
}

/*
 * By a clock of each CPU. The idle task is seen only with a softirq on top of it. Its number is 0, so a silence while the
 * CPU is idle is none.
 */
SEC("perf_event")
int sample(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct softirq_state *state = this_state();
	struct softirq_cpu *cpu = this_cpu();
	__u64 since, switches, now;
	__u32 tid = task->pid;
	__u8 serving;

	if (!state || !cpu)
		return 0;
	serving = serving_now(state);
	if (!serving)
		state->serving = 0; /* else the next one would be taken for the last one until it is begun */
	if (state->served_ns && serving != NET_RX + 1)
		end_long(state);
	since = waits_since(state, serving);
	if (!since)
		end_backlog(cpu);
	if (!tid && !since) {
		cpu->sampled_tid = 0;
		return 0;
	}
	now = bpf_ktime_get_ns();
	switches = task->nvcsw + task->nivcsw;
	if (tid && !since && was_silent(cpu, tid, switches, now))
		end_stall(ctx, STALL_SILENT, cpu->sampled_ns, now); /* what runs now had interrupts off */
	if (since && watch.softnet_data)
		follow_backlog(cpu, since, now);
	if (since && cpu->backlog_since_ns && cpu->backlog_since_ns < since)
		since = cpu->backlog_since_ns;
	if (watch.sample_always || (since && now - since >= watch.sample_after_ns))
		keep_sample(ctx, state, since, now, serving);
	cpu->sampled_tid = tid;
	cpu->sampled_switches = switches;
	cpu->sampled_ns = now;
	cpu->samples++;
	return 0;
}

/* Our place among pid namespaces, and what samples can see here. */
SEC("raw_tp")
int find_place(void *ctx)
{
	find_namespace(watch.pid_level_above, &watch.pid_level, &watch.pid_namespace);
	if (!run_queue(bpf_get_current_task_btf()) || !bpf_core_field_exists(struct softnet_data, input_queue_tail))
		watch.softnet_data = 0;
	watch.sees_softirqs = serves_softirq(bpf_get_current_task_btf(), watch.preempt_count) >= 0;
	return 0;
}
