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

#include "compat.bpf.h"
#include "connections.h"
#include "open_connections.bpf.h"
#include "pid_numbers.bpf.h"

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
#define FIRST_REPEAT_MS 1000 /* of a SYN: RFC 6298, TCP_TIMEOUT_INIT (include/net/tcp.h) */
#define TOLD_LATE_MS 1500 /* UNTIL_REPEATED_AGAIN of the rules: a first repeat is taken for a later one from then on */
#define TOLD_TOO_LATE_MS 10000 /* at an end: half of it ago the last repeat was dropped, what did that may be over */
#define FAREWELL_BYTES 80 /* GOAWAY of HTTP/2 and then TLS's own take 77, QUIT of MySQL 65 */

char LICENSE[] SEC("license") = "GPL";

#define TABLE(name, kind, entries, key_type, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

/* Preallocated, for a tracepoint may fire where memory cannot be had. */
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

	if ((__s32)ticks <= 0 || !watch.hz)
		return 0;
	return (__u64)ticks * 1000 / watch.hz;
}

/* Without a division, of which a close would need several. */
static __always_inline bool is_shorter(__u32 since, __u32 until, __u32 ms)
{
	__s32 ticks = until - since;

	return ticks < 0 || (__u64)ticks * 1000 < (__u64)ms * watch.hz;
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

static __noinline struct end *end_of(void *map, struct end_key *key, const struct connection *known)
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
static __noinline struct end *merged_end_of(struct end_key *key, const struct connection *known)
{
	__builtin_memset(key->client_address, 0, sizeof(key->client_address));
	key->span_class = 0;
	key->merged = 1;
	return end_of(&merged_ends, key, known);
}

static __noinline int count(struct end_key *key, const struct connection *known, __u32 connections, __u64 time)
{
	struct end *end = NULL;
	__u32 zero = 0;
	void *ends = bpf_map_lookup_elem(&ends_now, &zero);

	if (ends) {
		end = bpf_map_lookup_elem(ends, key);
		if (!end)
			end = end_of(ends, key, known);
	}
	if (!end)
		end = merged_end_of(key, known);
	if (end) {
		__sync_fetch_and_add(&end->connections, connections);
		if (time)
			__sync_fetch_and_add(&end->time, time * connections);
	} else if (key->ending < ENDINGS) {
		__sync_fetch_and_add(&watch.other[key->ending], connections);
	}
	return 0;
}

/*
 * Through tp: for a pointer in what the verifier trusts, as it does the arguments of a tracepoint, it goes through the names
 * of all types of the kernel, each time it comes by (btf_nested_type_is_trusted).
 */
static __always_inline __u32 netns_of(const struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->ns.inum;
}

/* sk_clone() copies the backlog limit of the listener into each connection it accepts; connect() leaves it zero. */
static __always_inline __u8 role_of(const struct sock *sk)
{
	return sk->sk_max_ack_backlog ? END_ACCEPTED : END_INITIATED;
}

/*
 * One copy of it in each program: instructions that are not in the cache cost more than calls do. The local port is in
 * inet_sport: inet_num is given back before the state becomes TCP_CLOSE (tcp_set_state, inet_put_port).
 */
static __noinline int name_end(const struct sock *sk, struct tcp_sock *tp, struct end_key *key,
			       const struct connection *known)
{
	key->netns = netns_of(tp);
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
	return 0;
}

/* Eight bytes at a time: as a call it would cost as much as all the rest here. */
static __always_inline void copy_name(char *to, struct task_struct *task)
{
	__u64 *from = (__u64 *)task->comm;

	((__u64 *)to)[0] = from[0];
	((__u64 *)to)[1] = from[1];
}

static __always_inline void keep_process(struct connection *to, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	to->pid = number_of(leader, task->tgid, watch.pid_level, watch.pid_namespace);
	to->process_started_ns = leader->start_boottime;
	copy_name(to->comm, leader);
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

	if (!known->process_started_ns && sk->sk_lock.owned && !killed)
		keep_current(known);
}

/*
 * Connects whose repeated SYNs nobody may tell of, until they end; one of a socket that has listened before has no record
 * (meet()). What is missed of a socket is made up for when its place is left, or taken again.
 */
static __always_inline void set_out(const struct sock *sk, struct connection *known)
{
	if (tells_of_failed_repeats() || sk->sk_max_ack_backlog)
		return;
	known->slot = known->began_ns >> UNDER_WAY_BITS & (UNDER_WAY_SLOTS - 1);
	known->under_way = 1;
	__sync_fetch_and_add(&watch.under_way[known->slot & (UNDER_WAY_SLOTS - 1)], 1);
}

static __always_inline void arrive(struct connection *known)
{
	if (!known->under_way)
		return;
	known->under_way = 0;
	__sync_fetch_and_add(&watch.under_way[known->slot & (UNDER_WAY_SLOTS - 1)], -1);
}

static __always_inline void begin(struct connection *to, const struct tcp_sock *tp, __u8 role)
{
	to->began_ns = 0;
	to->process_started_ns = 0;
	__builtin_memset(to->comm, 0, sizeof(to->comm));
	to->pid = 0;
	to->last_data = 0;
	to->written = 0;
	to->retransmitted = tp->total_retrans;
	to->role = role;
	to->reset = 0;
	to->under_way = 0;
}

/* The record of a socket that begins, whatever was left of another at its address. NULL, and counted: there is no room. */
static __always_inline struct connection *keep(const struct sock *sk, const struct tcp_sock *tp, __u8 role)
{
	struct connection *known = claim(address_of(sk));

	if (!known) {
		__sync_fetch_and_add(&watch.untracked, 1);
		return NULL;
	}
	arrive(known);
	begin(known, tp, role);
	return known;
}

/*
 * The record of a socket, made if it was open before we came. `fresh` takes its place where there is no room, and for
 * accepted connections, which need none: they have their role and their times in the socket, and owners only at closing.
 */
static __always_inline struct connection *meet(const struct sock *sk, const struct tcp_sock *tp,
					       struct connection *fresh)
{
	struct connection *known = NULL;
	__u64 address = address_of(sk);

	if (!sk->sk_max_ack_backlog) {
		known = find(address);
		if (known)
			return known;
		known = claim(address);
	}
	if (known)
		arrive(known);
	else
		known = fresh;
	begin(known, tp, role_of(sk));
	return known;
}

static __always_inline __u32 waited_ms(const struct connection *known)
{
	__u64 ms = known->began_ns ? (bpf_ktime_get_ns() - known->began_ns) / 1000000 : 0;

	return ms > 0xffffffff ? 0xffffffff : ms;
}

/*
 * When a connect began that we found under way: while it lasts, retrans_stamp has the time of its first SYN (tcp_connect())
 * in ms, or in us by an option of the route ("tcp: introduce TCP_USEC_TS", 6.7).
 */
static __always_inline __u64 began_before(const struct tcp_sock *tp)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 unit = 1000000, ago;

	if (bpf_core_field_exists(tp->tcp_usec_ts) && BPF_CORE_READ_BITFIELD(tp, tcp_usec_ts))
		unit = 1000;
	ago = (__u32)(now / unit) - tp->retrans_stamp;
	if (!tp->retrans_stamp || (__s32)ago < 0)
		return 0;
	return now - (__u64)ago * unit;
}

/*
 * The number is the socket's own: tcp_retransmit_skb fires only for what was sent without an error, and from 6.17 on for all
 * (compat.bpf.h). What it did not tell of is counted at the next reading, or when the connect ends; of a first repeat it is
 * known when that was due. A reading holds no lock: whoever of two changes the number counts them, and one that falls is of
 * another connect.
 */
static __noinline int count_syns(const struct sock *sk, struct tcp_sock *tp, struct connection *known, bool at_end)
{
	struct end_key key = {.ending = ENDING_SYN_RETRANSMITTED, .state = TCP_SYN_SENT}, first;
	__u64 told = known->retransmitted;
	__s32 more = tp->total_retrans - (__u32)told;
	__u32 ms;

	if (more <= 0 || __sync_val_compare_and_swap(&known->retransmitted, told, told + more) != told)
		return 0;
	ms = waited_ms(known);
	name_end(sk, tp, &key, known);
	if (!told && ms >= TOLD_LATE_MS && (!at_end || ms < TOLD_TOO_LATE_MS)) {
		first = key;
		first.span_class = idle_class(FIRST_REPEAT_MS);
		count(&first, known, 1, FIRST_REPEAT_MS);
		more--;
	}
	key.span_class = idle_class(ms);
	return more ? count(&key, known, more, ms) : 0;
}

static __always_inline __u32 later(__u32 one, __u32 other)
{
	return (__s32)(one - other) > 0 ? one : other;
}

/* When data last moved before a close, and before the end that closed said its last word. */
static __always_inline __u32 last_data(struct tcp_sock *tp, bool here, __u32 closed_at, bool *last_word)
{
	__u32 sent = tp->lsndtime, received = tp->inet_conn.icsk_ack.lrcvtime;
	__u32 closer = here ? sent : received, other = here ? received : sent;

	if (is_shorter(closer, closed_at, LAST_WORD_MS) && !is_shorter(other, closed_at, QUIET_MS)) {
		*last_word = true;
		return other;
	}
	return later(closer, other);
}

static __noinline int leave(const struct sock *sk)
{
	__u64 address = address_of(sk);
	struct connection *known = find(address);

	if (known) {
		arrive(known);
		release(known, address);
	}
	return 0;
}

static __always_inline void begin_connect(const struct sock *sk, const struct tcp_sock *tp)
{
	struct connection *known = keep(sk, tp, END_INITIATED);

	if (!known)
		return;
	known->began_ns = bpf_ktime_get_ns();
	set_out(sk, known);
	learn_owner(sk, known);
}

static __always_inline void remember_server(struct tcp_sock *tp, __u32 netns)
{
	struct served_key key = {.netns = netns};
	__u32 one = 1;

	key.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	if (!bpf_map_lookup_elem(&served, &key))
		bpf_map_update_elem(&served, &key, &one, BPF_ANY);
}

static __always_inline __u32 set_idle(struct end_key *key, __u32 ms)
{
	if (ms)
		key->span_class = idle_class(ms);
	return ms;
}

/* How an open connection was closed: its idle time in ms. */
static __always_inline __u32 closed(struct tcp_sock *tp, struct end_key *key, struct connection *known, __u32 at)
{
	bool last_word = false;
	__u32 since = last_data(tp, key->ending == ENDING_CLOSED_HERE, at, &last_word);

	if (known->role == END_INITIATED) {
		known->last_data = since;
		known->written = tp->write_seq;
	}
	key->last_word = last_word;
	return set_idle(key, milliseconds_between(since, at));
}

/*
 * How long the connect took, in us; 0 where its begin was not seen. The socket has just read the clock, for the segment
 * that it got (tcp_mstamp_refresh), and reading it is dear.
 */
static __always_inline __u64 opened(const struct sock *sk, struct tcp_sock *tp, struct end_key *key,
				    struct connection *known)
{
	__u64 began = known->began_ns / 1000, now = tp->tcp_mstamp;

	count_syns(sk, tp, known, true);
	if (!began || now < began)
		return 0;
	key->span_class = connect_class(now - began);
	return now - began;
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

static __always_inline bool is_unanswered(const struct tcp_sock *tp, __u8 role)
{
	__u64 asked = role == END_INITIATED ? tp->bytes_sent : tp->bytes_received;
	__u64 answered = role == END_INITIATED ? tp->bytes_received : tp->bytes_sent;

	return asked && !answered;
}

/*
 * Whether a request was written after the peer's close. The peer's farewell lies unread, so this is no answer to it. Who
 * gives a connection up unread says farewell too: over TLS in as many bytes as the peer, else in few beside its requests.
 */
static __always_inline bool has_asked(const struct tcp_sock *tp, const struct connection *known)
{
	__s32 unread = tp->rcv_nxt - tp->copied_seq - 1, written = tp->write_seq - known->written; /* 1: its FIN */

	if (!known->last_data || unread <= 0 || written <= 0 || written == unread)
		return false;
	return written > FAREWELL_BYTES || 4ULL * written * tp->data_segs_out >= 3 * tp->bytes_sent;
}

/* How a connection ended that was not closed by both ends in turn; false if it was. Sets its time in ms. */
static __always_inline bool broke(const struct sock *sk, struct tcp_sock *tp, struct end_key *key,
				  struct connection *known, __u8 state, __u64 *time)
{
	if (state == TCP_SYN_SENT) {
		if (!known->began_ns)
			known->began_ns = began_before(tp);
		count_syns(sk, tp, known, true);
	}
	key->ending = state == TCP_SYN_SENT ? why_connect_failed(sk, tp, known) : why_broken(sk, state);
	if (key->ending == ENDINGS)
		return false;
	if (state == TCP_ESTABLISHED && (key->ending == ENDING_RESET_SENT || key->ending == ENDING_RESET_RECEIVED))
		key->unanswered = is_unanswered(tp, known->role);
	if (state == TCP_CLOSE_WAIT && key->ending == ENDING_RESET_RECEIVED) {
		key->asked = has_asked(tp, known);
		/* its FIN is counted as a byte (tcp_rcv_nxt_update) */
		key->unanswered = known->role == END_INITIATED && tp->bytes_sent && tp->bytes_received <= 1;
	}
	if (state == TCP_ESTABLISHED && key->ending == ENDING_RESET_RECEIVED && known->role == END_INITIATED)
		key->asked = tp->snd_nxt != tp->snd_una; /* nothing of a reset is taken for an acknowledgement */
	key->state = state;
	*time = set_idle(key, idle_at_end(tp, known, key->ending, state));
	return true;
}

/* The accepting end has closed after its peer, which it had to wait for until its owner was there to be seen. */
static __noinline int closed_after_peer(const struct sock *sk, struct tcp_sock *tp, struct connection *known)
{
	struct end_key key = {.ending = ENDING_CLOSED_BY_PEER, .state = TCP_ESTABLISHED};
	__u32 ms = closed(tp, &key, known, tp->rcv_tstamp);

	name_end(sk, tp, &key, known);
	return count(&key, known, 1, ms);
}

/* One of the changes that are counted. */
static __always_inline void change(const struct sock *sk, struct tcp_sock *tp, __u8 old, __u8 new)
{
	struct end_key key = {.ending = ENDING_CLOSED_HERE, .state = TCP_ESTABLISHED};
	struct connection fresh, *known = meet(sk, tp, &fresh);
	__u64 time = 0;

	if (new == TCP_CLOSE_WAIT && known->role == END_ACCEPTED)
		return;
	arrive(known);
	if (new != TCP_ESTABLISHED)
		learn_owner(sk, known);
	if (new == TCP_LAST_ACK && known->role == END_INITIATED)
		return;
	if (new == TCP_ESTABLISHED) {
		key.ending = ENDING_OPENED;
		time = opened(sk, tp, &key, known);
	} else if (new == TCP_CLOSE) {
		if (old == TCP_CLOSE_WAIT && known->role == END_ACCEPTED)
			closed_after_peer(sk, tp, known);
		if (!broke(sk, tp, &key, known, old, &time))
			return;
	} else {
		if (new != TCP_FIN_WAIT1)
			key.ending = ENDING_CLOSED_BY_PEER;
		else if (known->role == END_ACCEPTED)
			remember_server(tp, netns_of(tp));
		time = closed(tp, &key, known, new == TCP_LAST_ACK ? tp->rcv_tstamp : bpf_jiffies64());
	}
	name_end(sk, tp, &key, known);
	count(&key, known, 1, time);
}

/* Both ends connected at once, or a socket to itself: one that a listener made is nobody's before it is established. */
static __always_inline bool crossed(const struct sock *sk)
{
	return !sk->sk_max_ack_backlog && BPF_CORE_READ(sk, sk_socket);
}

/* Whether a change may be counted: half of them are not, which is seen before anything is looked up. */
static __always_inline bool tells(const struct sock *sk, int old, int new)
{
	switch (new) {
	case TCP_FIN_WAIT1:
		return old == TCP_ESTABLISHED;
	case TCP_LAST_ACK:
		return true;
	case TCP_ESTABLISHED:
		return old == TCP_SYN_SENT || (old == TCP_SYN_RECV && crossed(sk));
	case TCP_CLOSE_WAIT:
		return old == TCP_ESTABLISHED && !sk->sk_max_ack_backlog;
	case TCP_CLOSE: /* nor a listener */
		return old == TCP_ESTABLISHED || old == TCP_SYN_SENT || old == TCP_CLOSE_WAIT ||
		       (sk->sk_err && old != TCP_SYN_RECV && old <= TCP_LAST_ACK);
	}
	return false;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(change_state, const struct sock *sk, int old, int new)
{
	bool accepts = old == TCP_SYN_RECV && new == TCP_ESTABLISHED && !sk->sk_max_ack_backlog;
	bool telling = tells(sk, old, new);
	struct tcp_sock *tp;

	if (telling || accepts || new == TCP_SYN_SENT) {
		tp = bpf_skc_to_tcp_sock((void *)sk);
		if (!tp) /* MPTCP, SCTP */
			return 0;
		if (telling)
			change(sk, tp, old, new);
		else if (accepts)
			keep(sk, tp, END_ACCEPTED);
		else
			begin_connect(sk, tp);
	}
	if (new == TCP_CLOSE && !sk->sk_max_ack_backlog)
		leave(sk);
	return 0;
}

/* Tells a refused connect from a rejected one; in later states sk_err says as much. */
SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, const struct sock *sk)
{
	struct connection *known = sk->sk_max_ack_backlog ? NULL : find(address_of(sk));

	if (known)
		known->reset = 1;
	return 0;
}

static __always_inline void late_to_minisocket(const struct sock *sk)
{
	struct end_key key = {.ending = ENDING_LATE_DATA, .state = TCP_TIME_WAIT, .role = END_ACCEPTED};
	struct served_key server = {.port = sk->__sk_common.skc_num};
	struct connection unknown = {};

	key.netns = server.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!bpf_map_lookup_elem(&served, &server)) {
		__sync_fetch_and_add(&watch.late_unassigned, 1);
		return;
	}
	key.server_port = server.port;
	key.family = read_addresses(sk, key.server_address, key.client_address);
	count(&key, &unknown, 1, 0);
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
	struct end_key key = {.ending = ENDING_LATE_DATA, .state = TCP_CLOSE};
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
	name_end(sk, tp, &key, &unknown);
	count(&key, &unknown, 1, 0);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk)
{
	struct connection *known;
	struct tcp_sock *tp;

	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	known = find(address_of(sk));
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (known && tp)
		count_syns(sk, tp, known, false);
	return 0;
}

/* A raw socket may have the protocol number of TCP as well, by which bpf_skc_to_tcp_sock() goes. */
static __always_inline struct sock *stream_of(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);
	struct sock *sk = socket ? socket->sk : NULL;

	return sk && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM ? sk : NULL;
}

/* The owners of connections that were open before we came: read once, after the others are attached. */
SEC("iter/task_file")
int open_files(struct bpf_iter__task_file *ctx)
{
	struct connection *known;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_sock *tp;
	struct sock *sk;
	__u8 state;

	if (!task || !file)
		return 0;
	sk = stream_of(file);
	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return 0;
	state = sk->__sk_common.skc_state;
	if (sk->sk_max_ack_backlog || (state != TCP_ESTABLISHED && state != TCP_SYN_SENT && state != TCP_CLOSE_WAIT))
		return 0;
	known = find(address_of(sk));
	if (!known)
		known = keep(sk, tp, END_INITIATED);
	if (!known || known->process_started_ns)
		return 0;
	if (state == TCP_SYN_SENT && !known->began_ns) {
		known->began_ns = began_before(tp);
		set_out(sk, known);
	}
	if (state == TCP_CLOSE_WAIT && !known->last_data) {
		known->last_data = later(tp->lsndtime, tp->inet_conn.icsk_ack.lrcvtime);
		known->written = tp->write_seq;
	}
	keep_process(known, task);
	return 0;
}

/* Run at a reading while connects wait for so long that their SYNs may have been sent again. */
SEC("iter/task_file")
int count_waiting(struct bpf_iter__task_file *ctx)
{
	struct connection *known;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_sock *tp;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = stream_of(file);
	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp || sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	known = find(address_of(sk));
	if (known)
		count_syns(sk, tp, known, false);
	return 0;
}

/* Our place among pid namespaces. */
SEC("raw_tp")
int find_place(void *ctx)
{
	find_namespace(watch.pid_level_above, &watch.pid_level, &watch.pid_namespace);
	return 0;
}
