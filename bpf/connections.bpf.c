// SPDX-License-Identifier: GPL-2.0-only
/*
 * How connections begin and end, summed into groups: who closed after which idle time, who reset whom in which state, and
 * why a connect failed. Attached to tracepoints that fire a few times in the life of a connection, never for a packet.
 *
 * These run wherever the kernel changes a socket, on all CPUs at once: sums are atomic, and scratch space is the stack.
 * There is no program on tcp_destroy_sock: every socket passes TCP_CLOSE before (inet_csk_destroy_sock warns otherwise).
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "connections.h"

#define AF_INET6 10
#define SOCK_STREAM 1
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define EPIPE 32 /* include/uapi/asm-generic/errno*.h */
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define TCP_ESTABLISHED 1 /* include/net/tcp_states.h */
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LAST_ACK 9
#define LAST_WORD_MS 100 /* what was sent this shortly before a close belongs to it ... */
#define QUIET_MS 500 /* ... if it was quiet for this long before */

char LICENSE[] SEC("license") = "GPL";

#define TABLE(name, kind, entries, key_type, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

/* Preallocated, for a tracepoint may fire where memory cannot be had. */
TABLE(connections, BPF_MAP_TYPE_HASH, 65536, __u64, struct connection);
TABLE(merged_ends, BPF_MAP_TYPE_HASH, 4096, struct end_key, struct end);
TABLE(served, BPF_MAP_TYPE_LRU_HASH, 4096, struct served_key, __u32);

/*
 * One is written while the other is read and emptied: an entry that is removed may be used for another group at once, and
 * a program that found it before would add to that one. User space changes `ends_now`, which waits until no program
 * runs that still has the old one (kernel/bpf/syscall.c: maybe_wait_bpf_programs).
 */
struct ends {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct end_key);
	__type(value, struct end);
} ends_a SEC(".maps"), ends_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ends);
} ends_now SEC(".maps") = {.values = {[0] = &ends_a}};

struct watch watch SEC(".data.watch") = {};

/* Jiffies of a socket; another CPU may have been a tick ahead. */
static __always_inline __u32 milliseconds_between(__u32 since, __u32 until)
{
	__u32 ticks = until - since;

	if ((__s32)ticks < 0 || !watch.hz)
		return 0;
	return (__u64)ticks * 1000 / watch.hz;
}

/* A function that is not static is walked by the verifier only once. */
__noinline int idle_class(__u32 ms)
{
	__u32 i, class, begin = 0;

	for (i = 0; i < IDLE_STEPS - 1; i++) {
		if (ms < watch.idle_steps[i].until_ms)
			break;
		begin = watch.idle_steps[i].until_ms;
	}
	class = watch.idle_steps[i].first_class + (ms - begin) / watch.idle_steps[i].step_ms;
	return class < IDLE_CLASSES ? class : IDLE_CLASSES - 1;
}

__noinline int connect_class(__u64 us)
{
	__u32 value = us > 0x7fffffff ? 0x7fffffff : us, power = 0;

	if (!value)
		return 0;
	if (value >> 16)
		power += 16;
	if (value >> (power + 8))
		power += 8;
	if (value >> (power + 4))
		power += 4;
	if (value >> (power + 2))
		power += 2;
	if (value >> (power + 1))
		power += 1;
	power = 2 * power + (power ? value >> (power - 1) & 1 : 0);
	return power < CONNECT_CLASSES ? power : CONNECT_CLASSES - 1;
}

static __always_inline bool is_v4_mapped(const struct in6_addr *address)
{
	return !address->in6_u.u6_addr32[0] && !address->in6_u.u6_addr32[1] &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

static __always_inline void copy_v6(unsigned char *to, const struct in6_addr *address)
{
	__u32 *words = (__u32 *)to;
	int i;

	for (i = 0; i < 4; i++)
		words[i] = address->in6_u.u6_addr32[i];
}

/* Both addresses; returns the family. Also of a TIME_WAIT minisocket, which begins as a socket does. */
static __always_inline __u8 read_addresses(const struct sock *sk, unsigned char *local, unsigned char *remote)
{
	if (sk->__sk_common.skc_family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		if (!is_v4_mapped(&sk->__sk_common.skc_v6_daddr)) {
			copy_v6(local, &sk->__sk_common.skc_v6_rcv_saddr);
			copy_v6(remote, &sk->__sk_common.skc_v6_daddr);
			return 6;
		}
		*(__u32 *)local = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		*(__u32 *)remote = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3];
		return 4;
	}
	*(__u32 *)local = sk->__sk_common.skc_rcv_saddr;
	*(__u32 *)remote = sk->__sk_common.skc_daddr;
	return 4;
}

static __always_inline void add_to(struct end *end, __u64 time)
{
	__sync_fetch_and_add(&end->connections, 1);
	__sync_fetch_and_add(&end->time, time);
}

static __always_inline struct end *end_of(void *map, struct end_key *key, const struct connection *known)
{
	struct end *end = bpf_map_lookup_elem(map, key), fresh = {};

	if (end)
		return end;
	fresh.process_started_ns = known->process_started_ns;
	__builtin_memcpy(fresh.comm, known->comm, sizeof(fresh.comm));
	bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

/* What finds no group loses its client and its class first, then is summed as "other". */
static __noinline int count(struct end_key *key, const struct connection *known, __u64 time)
{
	struct end *end = NULL;
	__u32 zero = 0;
	void *ends = bpf_map_lookup_elem(&ends_now, &zero);

	if (ends)
		end = end_of(ends, key, known);
	if (!end) {
		__builtin_memset(key->client_address, 0, sizeof(key->client_address));
		key->span_class = 0;
		key->merged = 1;
		end = end_of(&merged_ends, key, known);
	}
	if (end)
		add_to(end, time);
	else if (key->ending < ENDINGS)
		__sync_fetch_and_add(&watch.other[key->ending], 1);
	return 0;
}

/* Not followed as typed pointers: for each on each path the verifier searches all names of the kernel's types. */
static __always_inline __u32 netns_of(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* sk_clone() copies the backlog limit of the listener into each connection it accepts; connect() leaves it zero. */
static __always_inline __u8 role_of(const struct sock *sk)
{
	return sk->sk_max_ack_backlog ? END_ACCEPTED : END_INITIATED;
}

/*
 * The local port is in inet_sport: inet_num is given back before the state becomes TCP_CLOSE (tcp_set_state,
 * inet_put_port).
 */
static __always_inline void fill_key(struct end_key *key, const struct sock *sk, struct tcp_sock *tp,
				     const struct connection *known)
{
	key->netns = netns_of(sk);
	key->role = known->role;
	key->pid = known->pid;
	key->process_started = known->process_started_ns >> 20;
	if (key->role == END_ACCEPTED) {
		key->family = read_addresses(sk, key->server_address, key->client_address);
		key->server_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	} else {
		key->family = read_addresses(sk, key->client_address, key->server_address);
		key->server_port = bpf_ntohs(sk->__sk_common.skc_dport);
	}
}

static __always_inline void count_idle(const struct sock *sk, struct tcp_sock *tp, const struct connection *known,
				       __u8 ending, __u8 state, __u32 ms, bool last_word)
{
	struct end_key key = {.ending = ending, .state = state, .span_class = idle_class(ms), .last_word = last_word};

	fill_key(&key, sk, tp, known);
	count(&key, known, ms);
}

static __always_inline void keep_process(struct connection *to, struct task_struct *task)
{
	struct pid *pid = task->group_leader->thread_pid;
	int number = task->tgid;

	if (watch.pid_level)
		bpf_probe_read_kernel(&number, sizeof(number),
				      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
					      watch.pid_level * bpf_core_type_size(struct upid) +
					      bpf_core_field_offset(struct upid, nr));
	to->pid = number;
	to->process_started_ns = task->group_leader->start_boottime;
	bpf_probe_read_kernel(to->comm, sizeof(to->comm), &task->group_leader->comm);
}

__noinline int keep_current(struct connection *to)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (to && !(task->flags & PF_KTHREAD))
		keep_process(to, task);
	return 0;
}

/*
 * The current task is a process that uses the socket only where it has locked it: softirqs, which run in whatever task
 * they interrupt, leave an owned socket alone (sock_owned_by_user), and so do timers.
 */
static __always_inline void learn_owner(const struct sock *sk, struct connection *known)
{
	bool killed = sk->sk_err == ECONNABORTED; /* tcp_abort() runs in the process that kills it */

	if (!known->pid && sk->sk_lock.owned && !killed)
		keep_current(known);
}

/*
 * The record of a socket, made if it was open before we came. `fresh` takes its place where there is no room, and for
 * accepted connections, which need none: they have their role and their times in the socket, and owners only at closing.
 */
static __always_inline struct connection *meet(const struct sock *sk, struct connection *fresh)
{
	__u64 address = (__u64)sk;
	struct connection *known;

	if (sk->sk_max_ack_backlog) {
		fresh->role = END_ACCEPTED;
		return fresh;
	}
	known = bpf_map_lookup_elem(&connections, &address);
	if (known)
		return known;
	fresh->role = END_INITIATED;
	if (bpf_map_update_elem(&connections, &address, fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&watch.untracked, 1);
	known = bpf_map_lookup_elem(&connections, &address);
	return known ? known : fresh;
}

static __always_inline void keep(const struct sock *sk, struct connection *fresh)
{
	__u64 address = (__u64)sk;

	if (bpf_map_update_elem(&connections, &address, fresh, BPF_ANY)) {
		__sync_fetch_and_add(&watch.untracked, 1);
		bpf_map_delete_elem(&connections, &address);
	}
}

static __always_inline __u32 waited_ms(const struct connection *known)
{
	__u64 ms = known->began_ns ? (bpf_ktime_get_ns() - known->began_ns) / 1000000 : 0;

	return ms > 0xffffffff ? 0xffffffff : ms;
}

static __always_inline void begin_connect(const struct sock *sk)
{
	struct connection fresh = {};

	fresh.role = END_INITIATED;
	fresh.began_ns = bpf_ktime_get_ns();
	learn_owner(sk, &fresh);
	keep(sk, &fresh);
}

static __always_inline void opened(const struct sock *sk, struct tcp_sock *tp)
{
	struct end_key key = {.ending = ENDING_OPENED, .state = TCP_ESTABLISHED};
	struct connection fresh = {}, *known = meet(sk, &fresh);
	__u64 us = 0;

	if (known->began_ns) {
		us = (bpf_ktime_get_ns() - known->began_ns) / 1000;
		key.span_class = connect_class(us);
	}
	fill_key(&key, sk, tp, known);
	count(&key, known, us);
}

/* Counted when it ends. Only one whose listener has no backlog needs a record, to be known by. */
static __always_inline void accepted(const struct sock *sk)
{
	struct connection fresh = {.role = END_ACCEPTED};

	if (!sk->sk_max_ack_backlog)
		keep(sk, &fresh);
}

/* When data last moved before a close, and before the end that closed said its last word. */
static __always_inline __u32 last_data(struct tcp_sock *tp, bool here, __u32 closed_at, bool *last_word)
{
	__u32 sent = tp->lsndtime, received = tp->inet_conn.icsk_ack.lrcvtime;
	__u32 closer = here ? sent : received, other = here ? received : sent;

	if (milliseconds_between(closer, closed_at) < LAST_WORD_MS &&
	    milliseconds_between(other, closed_at) >= QUIET_MS) {
		*last_word = true;
		return other;
	}
	return (__s32)(closer - other) > 0 ? closer : other;
}

static __always_inline void remember_server(const struct sock *sk, struct tcp_sock *tp)
{
	struct served_key key = {.netns = netns_of(sk)};
	__u32 one = 1;

	key.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	if (!bpf_map_lookup_elem(&served, &key))
		bpf_map_update_elem(&served, &key, &one, BPF_ANY);
}

static __always_inline void count_closed(const struct sock *sk, struct tcp_sock *tp, const struct connection *known,
					 __u8 ending, __u32 closed_at)
{
	bool last_word = false;
	__u32 since = last_data(tp, ending == ENDING_CLOSED_HERE, closed_at, &last_word);

	count_idle(sk, tp, known, ending, TCP_ESTABLISHED, milliseconds_between(since, closed_at), last_word);
}

static __always_inline void closed_here(const struct sock *sk, struct tcp_sock *tp)
{
	struct connection fresh = {}, *known = meet(sk, &fresh);

	learn_owner(sk, known);
	if (known->role == END_ACCEPTED)
		remember_server(sk, tp);
	count_closed(sk, tp, known, ENDING_CLOSED_HERE, bpf_jiffies64());
}

/* The accepting end has to wait until its owner is there to be seen. */
static __always_inline void closed_by_peer(const struct sock *sk, struct tcp_sock *tp)
{
	struct connection fresh = {}, *known = meet(sk, &fresh);
	bool last_word = false;
	__u32 now = bpf_jiffies64();

	if (known->role == END_ACCEPTED)
		return;
	known->last_data = last_data(tp, false, now, &last_word);
	learn_owner(sk, known);
	count_closed(sk, tp, known, ENDING_CLOSED_BY_PEER, now);
}

/* The accepting end closes too. Its last segment was the FIN, or what answered a response that was written after it. */
static __always_inline void closed_after_peer(const struct sock *sk, struct tcp_sock *tp)
{
	struct connection fresh = {}, *known = meet(sk, &fresh);

	learn_owner(sk, known);
	if (known->role == END_ACCEPTED)
		count_closed(sk, tp, known, ENDING_CLOSED_BY_PEER, tp->rcv_tstamp);
}

/*
 * How long a connection had been quiet when the write was made that the reset answers; without a write, when the reset
 * came. A write after the peer's close is told by what was remembered then.
 */
static __always_inline __u32 idle_before_reset(struct tcp_sock *tp, const struct connection *known, __u8 state)
{
	__u32 sent = tp->lsndtime, quiet_since = tp->inet_conn.icsk_ack.lrcvtime;

	if (state == TCP_CLOSE_WAIT && known->last_data)
		quiet_since = known->last_data;
	if ((__s32)(sent - quiet_since) > 0)
		return milliseconds_between(quiet_since, sent);
	return milliseconds_between(quiet_since, bpf_jiffies64());
}

static __always_inline __u8 why_connect_failed(const struct sock *sk, struct tcp_sock *tp, struct connection *known)
{
	if (known->reset)
		return ENDING_REFUSED;
	switch (sk->sk_err) {
	case 0:
		return tp->segs_out ? ENDING_GIVEN_UP : ENDING_NOT_SENT;
	case ECONNREFUSED:
		return ENDING_REJECTED;
	case ETIMEDOUT:
		return ENDING_TIMED_OUT;
	}
	return ENDING_BROKEN;
}

/*
 * After a close of our own sk_err may be an old message (ICMP) that nobody has read, so only what ends a connection counts.
 * Without an error an open connection ends by a reset of ours: unread data at close, SO_LINGER, disconnect.
 */
static __always_inline __u8 why_broken(const struct sock *sk, __u8 state)
{
	bool open = state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT;
	int error = sk->sk_err;

	if (error == ECONNRESET || error == EPIPE)
		return ENDING_RESET_RECEIVED;
	if (error == ETIMEDOUT)
		return ENDING_TIMED_OUT;
	if (!open)
		return ENDINGS;
	return error ? ENDING_BROKEN : ENDING_RESET_SENT;
}

static __always_inline __u32 idle_at_end(struct tcp_sock *tp, const struct connection *known, __u8 ending, __u8 state)
{
	bool last_word = false;
	__u32 now = bpf_jiffies64();

	if (state == TCP_SYN_SENT)
		return waited_ms(known);
	if (ending == ENDING_RESET_RECEIVED)
		return idle_before_reset(tp, known, state);
	if (ending == ENDING_RESET_SENT)
		return milliseconds_between(last_data(tp, true, now, &last_word), now);
	return milliseconds_between(tp->rcv_tstamp, now);
}

/* Most have been counted when they were closed, and are done. */
static __always_inline void ended(const struct sock *sk, struct tcp_sock *tp, __u8 state)
{
	struct connection fresh = {}, *known;
	__u8 ending = ENDINGS;

	if (state == TCP_CLOSE_WAIT)
		closed_after_peer(sk, tp);
	if (state != TCP_SYN_SENT)
		ending = why_broken(sk, state);
	if (ending == ENDINGS && state != TCP_SYN_SENT)
		return;
	known = meet(sk, &fresh);
	learn_owner(sk, known);
	if (state == TCP_SYN_SENT)
		ending = why_connect_failed(sk, tp, known);
	count_idle(sk, tp, known, ending, state, idle_at_end(tp, known, ending, state), false);
}

static __always_inline void forget(const struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (!sk->sk_max_ack_backlog)
		bpf_map_delete_elem(&connections, &address);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(change_state, const struct sock *sk, int old, int new)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);

	if (!tp) /* MPTCP, SCTP */
		return 0;
	if (new == TCP_SYN_SENT) {
		begin_connect(sk);
	} else if (new == TCP_ESTABLISHED && old == TCP_SYN_SENT) {
		opened(sk, tp);
	} else if (new == TCP_ESTABLISHED && old == TCP_SYN_RECV) {
		accepted(sk);
	} else if (new == TCP_FIN_WAIT1 && old == TCP_ESTABLISHED) {
		closed_here(sk, tp);
	} else if (new == TCP_CLOSE_WAIT && old == TCP_ESTABLISHED) {
		closed_by_peer(sk, tp);
	} else if (new == TCP_LAST_ACK) {
		closed_after_peer(sk, tp);
	} else if (new == TCP_CLOSE && old != TCP_SYN_RECV &&old <= TCP_LAST_ACK) { /* not a listener */
		ended(sk, tp, old);
		forget(sk);
	}
	return 0;
}

/* Tells a refused connect from a rejected one; in later states sk_err says as much. */
SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, const struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct connection *known = bpf_map_lookup_elem(&connections, &address);

	if (known)
		known->reset = 1;
	return 0;
}

static __always_inline void late_to_minisocket(const struct sock *sk)
{
	struct end_key key = {.ending = ENDING_LATE_DATA, .state = TCP_TIME_WAIT, .role = END_ACCEPTED};
	struct served_key server = {.port = sk->__sk_common.skc_num};
	struct connection unknown = {};

	key.netns = server.netns = netns_of(sk);
	if (!bpf_map_lookup_elem(&served, &server)) {
		__sync_fetch_and_add(&watch.late_unassigned, 1);
		return;
	}
	key.server_port = server.port;
	key.family = read_addresses(sk, key.server_address, key.client_address);
	count(&key, &unknown, 0);
}

/*
 * A reset that answers a segment (those of our own will have none) after we have closed: the socket is TCP_CLOSE already
 * (tcp_rcv_state_process), or was replaced by a minisocket. Of the latter the kernel tells since "tcp: rstreason: let it
 * work finally in tcp_send_reset()" (6.11); before that only full sockets got here.
 *
 * Either pointer may be NULL. Old verifiers believe that they are not and drop the check, but then what is read is zero.
 */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(send_reset, const struct sock *sk, const struct sk_buff *skb)
{
	struct connection unknown = {};
	struct tcp_sock *tp;
	__u8 state;

	if (!sk || !skb || !skb->len)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_TIME_WAIT)
		late_to_minisocket(sk);
	if (state != TCP_CLOSE)
		return 0;
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp)
		return 0;
	unknown.role = role_of(sk);
	count_idle(sk, tp, &unknown, ENDING_LATE_DATA, state, 0, false);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk)
{
	struct connection *known;
	struct tcp_sock *tp;
	__u64 address = (__u64)sk;

	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	known = bpf_map_lookup_elem(&connections, &address);
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (known && tp)
		count_idle(sk, tp, known, ENDING_SYN_RETRANSMITTED, TCP_SYN_SENT, waited_ms(known), false);
	return 0;
}

/* The owners of connections that were open before we came: read once, after the others are attached. */
SEC("iter/task_file")
int open_files(struct bpf_iter__task_file *ctx)
{
	struct connection fresh = {}, *known;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 address;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	/* A raw socket may have the protocol number of TCP as well, by which that helper goes. */
	tp = sk && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return 0;
	state = sk->__sk_common.skc_state;
	if (sk->sk_max_ack_backlog || (state != TCP_ESTABLISHED && state != TCP_SYN_SENT && state != TCP_CLOSE_WAIT))
		return 0;
	fresh.role = END_INITIATED;
	if (state == TCP_CLOSE_WAIT)
		fresh.last_data = (__s32)(tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime) > 0
					  ? tp->lsndtime
					  : tp->inet_conn.icsk_ack.lrcvtime;
	keep_process(&fresh, task);
	address = (__u64)sk;
	known = bpf_map_lookup_elem(&connections, &address);
	if (known) {
		if (!known->pid) {
			known->process_started_ns = fresh.process_started_ns;
			__builtin_memcpy(known->comm, fresh.comm, sizeof(fresh.comm));
			known->pid = fresh.pid;
		}
	} else if (bpf_map_update_elem(&connections, &address, &fresh, BPF_NOEXIST)) {
		__sync_fetch_and_add(&watch.untracked, 1);
	}
	return 0;
}

/* Our place among pid namespaces. */
SEC("raw_tp")
int find_place(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	watch.pid_level = BPF_CORE_READ(task, thread_pid, level) - watch.pid_level_above;
	return 0;
}
