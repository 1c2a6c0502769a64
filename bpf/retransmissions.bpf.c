// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segments of TCP that were sent again, summed by where they went: how often, whether a time-out was needed, of which size,
 * and how many were sent at all. Runs at a repeat, and when a socket ends; never for a packet. SYNs are not counted:
 * connections.bpf.c does that.
 *
 * How many were sent is in the sockets (data_segs_out: mere acknowledgements are never repeated). Each is read when it
 * repeats or ends, and those that are open when user space asks: so a destination has the whole of it, also of connections
 * without a repeat, and all others are one sum. What a socket had sent before we came is read once, at the start.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "address_of.bpf.h"
#include "compat.bpf.h"
#include "pid_numbers.bpf.h"
#include "retransmissions.h"

#define AF_INET6 10
#define SOCK_STREAM 1
#define TCP_SYN_SENT 2 /* include/net/tcp_states.h */
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define TCP_CA_RECOVERY 3 /* include/uapi/linux/tcp.h */
#define TCP_CA_LOSS 4
#define AGAIN 2 /* time-outs of the same segment before this one */
#define OPTIONS 40 /* as long as they can be; a segment is shorter by those that the others had not */

char LICENSE[] SEC("license") = "GPL";

/* Preallocated, for a tracepoint may fire where memory cannot be had. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct destination_key);
	__type(value, struct destination);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct repeater);
} repeaters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct repeat_owner_key);
	__type(value, struct repeat_owner);
} owners SEC(".maps");

struct repeat_watch watch SEC(".data.watch") = {};

static __always_inline bool is_v4_mapped(const struct in6_addr *address)
{
	return !address->in6_u.u6_addr32[0] && !address->in6_u.u6_addr32[1] &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

static __always_inline void read_remote(const struct sock *sk, struct destination_key *key)
{
	__u32 *words = (__u32 *)key->remote;
	int i;

	key->family = 4;
	if (sk->__sk_common.skc_family != AF_INET6 || !bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		words[0] = sk->__sk_common.skc_daddr;
		return;
	}
	if (is_v4_mapped(&sk->__sk_common.skc_v6_daddr)) {
		words[0] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3];
		return;
	}
	key->family = 6;
	for (i = 0; i < 4; i++)
		words[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
}

/* Both ends have the same address, or one that is only good here: it goes over loopback. */
static __always_inline bool is_inside(const struct sock *sk)
{
	const struct in6_addr *remote = &sk->__sk_common.skc_v6_daddr, *local = &sk->__sk_common.skc_v6_rcv_saddr;
	__u32 v4 = sk->__sk_common.skc_daddr, i;

	if (sk->__sk_common.skc_family != AF_INET6 || !bpf_core_field_exists(sk->__sk_common.skc_v6_daddr))
		return v4 == sk->__sk_common.skc_rcv_saddr || (v4 & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	if (is_v4_mapped(remote) && (remote->in6_u.u6_addr32[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000))
		return true;
	for (i = 0; i < 4; i++)
		if (remote->in6_u.u6_addr32[i] != local->in6_u.u6_addr32[i])
			return false;
	return true;
}

/*
 * sk_clone() copies the backlog limit of the listener into each connection it accepts; connect() leaves it zero.
 *
 * The namespace is read through tp: for a pointer in what the verifier trusts, as it does the arguments of a tracepoint,
 * it goes through the names of all types of the kernel, each time it comes by (btf_nested_type_is_trusted).
 */
static __always_inline void name_destination(const struct sock *sk, struct tcp_sock *tp, struct destination_key *key)
{
	key->netns = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->ns.inum;
	key->accepted = !!sk->sk_max_ack_backlog;
	key->port = bpf_ntohs(key->accepted ? tp->inet_conn.icsk_inet.inet_sport : sk->__sk_common.skc_dport);
	read_remote(sk, key);
}

static __noinline struct destination *destination_of(struct destination_key *key)
{
	struct destination *found = bpf_map_lookup_elem(&destinations, key), fresh = {};

	if (found)
		return found;
	fresh.first_ns = bpf_ktime_get_boot_ns();
	if (!bpf_map_update_elem(&destinations, key, &fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&watch.destinations, 1);
	return bpf_map_lookup_elem(&destinations, key);
}

static __always_inline __u8 kind_of(const struct tcp_sock *tp, const struct sk_buff *skb)
{
	const struct tcp_skb_cb *control = (const struct tcp_skb_cb *)skb->cb;
	__u8 state = BPF_CORE_READ_BITFIELD(&tp->inet_conn, icsk_ca_state);

	if ((__s32)(BPF_CORE_READ(control, end_seq) - tp->snd_una - tp->snd_wnd) > 0)
		return REPEAT_CLOSED;
	if (state == TCP_CA_LOSS)
		return REPEAT_TIMEOUT;
	return state == TCP_CA_RECOVERY ? REPEAT_FAST : REPEAT_PROBE;
}

/*
 * How long ago the first repeat was, in ms: retrans_stamp has its time in ms, or in us by an option of the route ("tcp:
 * introduce TCP_USEC_TS", 6.7).
 */
static __always_inline __u32 repeating_ms(const struct tcp_sock *tp)
{
	__u64 now = bpf_ktime_get_ns();

	if (!tp->retrans_stamp)
		return 0;
	if (bpf_core_field_exists(tp->tcp_usec_ts) && BPF_CORE_READ_BITFIELD(tp, tcp_usec_ts))
		return ((__u32)(now / 1000) - tp->retrans_stamp) / 1000;
	return (__u32)(now / 1000000) - tp->retrans_stamp;
}

/* Whether a time of the socket, in ticks, is later than so many ms ago, for certain. */
static __always_inline bool is_later(__u32 ticks, __u32 ms_ago)
{
	__u32 ago;

	if (!watch.hz)
		return false;
	ago = (__u64)((__u32)bpf_jiffies64() - ticks) * 1000 / watch.hz;
	return ago + 1000 / watch.hz + 1 < ms_ago;
}

/*
 * A repeated segment of full size has been acknowledged meanwhile. Full is what any connection there sends at most: what the
 * kernel has made smaller since (MTU probing) is less.
 */
static __always_inline void see_whether_passed(const struct tcp_sock *tp, struct repeater *known,
					       struct destination *to)
{
	if (!known->mss || tp->snd_una == known->una)
		return;
	if (tp->mss_cache >= known->mss && known->mss + OPTIONS >= to->mss &&
	    (__s32)(tp->snd_una - known->una) >= (__s32)(known->mss - OPTIONS))
		__sync_fetch_and_add(&to->passed, 1);
	known->mss = 0;
	known->stuck = 0;
}

/* What this socket has sent since it was last looked at. to: NULL where nothing was repeated. */
static __always_inline void add_sent(const struct tcp_sock *tp, struct repeater *known, struct destination *to)
{
	__u32 sent = tp->data_segs_out, duplicates = tp->dsack_dups, more = sent - known->sent;

	if ((__s32)more < 0) /* at a reading, where the socket is not locked, another CPU has added a later number */
		return;
	known->sent = sent;
	if (!to) {
		__sync_fetch_and_add(&watch.elsewhere, more);
		return;
	}
	__sync_fetch_and_add(&to->sent, more);
	if ((__s32)(duplicates - known->duplicates) > 0)
		__sync_fetch_and_add(&to->duplicates, duplicates - known->duplicates);
	known->duplicates = duplicates;
	see_whether_passed(tp, known, to);
}

/* The device that the segment has just gone to, and how large packets may be on the way, as far as the kernel knows. */
static __noinline int note_path(const struct sock *sk, const struct tcp_sock *tp, struct destination *to)
{
	struct net_device *device;

	if (!to)
		return 0;
	device = BPF_CORE_READ(sk, sk_dst_cache, dev);
	to->path_mtu = tp->inet_conn.icsk_pmtu_cookie;
	if (!device)
		return 0;
	to->device_mtu = BPF_CORE_READ(device, mtu);
	bpf_core_read(to->device, sizeof(to->device), &device->name);
	return 0;
}

static __always_inline void note_again(const struct tcp_sock *tp, struct repeater *known, struct destination *to,
				       bool full)
{
	__u32 ms = repeating_ms(tp);

	if (is_later(tp->inet_conn.icsk_ack.lrcvtime, ms))
		__sync_fetch_and_add(&to->again_heard, 1);
	else if (is_later(tp->rcv_tstamp, ms))
		__sync_fetch_and_add(&to->again_refused, 1);
	if (!full) {
		__sync_fetch_and_add(&to->again_small, 1);
		return;
	}
	__sync_fetch_and_add(&to->again_full, 1);
	known->unowned_again++;
	if (tp->sacked_out)
		__sync_fetch_and_add(&to->again_sacked, 1);
	if (!known->stuck)
		__sync_fetch_and_add(&to->stuck, 1);
	known->stuck = 1;
}

static __always_inline void note_size(const struct sock *sk, const struct tcp_sock *tp, const struct sk_buff *skb,
				      struct repeater *known, struct destination *to, __u32 segments, __u8 kind)
{
	__u32 mss = tp->mss_cache;
	bool full = mss > OPTIONS && skb->len >= mss - OPTIONS;

	if (kind == REPEAT_CLOSED)
		return;
	note_path(sk, tp, to);
	known->unowned += segments;
	if (full) {
		__sync_fetch_and_add(&to->full, segments);
		if (mss > to->mss)
			to->mss = mss;
	}
	if (kind == REPEAT_TIMEOUT && tp->inet_conn.icsk_backoff >= AGAIN)
		note_again(tp, known, to, full);
	known->una = tp->snd_una;
	known->mss = full ? mss : 0;
}

/* What is left of a socket that ended while it was met: of one that is locked, as here, numbers only grow. */
static __always_inline void forget_other(const struct tcp_sock *tp, struct repeater *known)
{
	if ((__s32)(tp->data_segs_out - known->sent) < 0 || (__s32)(tp->total_retrans - known->repeated) < 0)
		__builtin_memset(known, 0, sizeof(*known));
}

/* Made where it is not known, with `repeated` as its number so far. NULL, and counted: there is no room. */
static __always_inline struct repeater *keep(__u64 address, const struct repeater *fresh)
{
	struct repeater *known;

	bpf_map_update_elem(&repeaters, &address, fresh, BPF_NOEXIST);
	known = bpf_map_lookup_elem(&repeaters, &address);
	if (!known)
		__sync_fetch_and_add(&watch.untracked, 1);
	return known;
}

static __always_inline void count(const struct sock *sk, struct tcp_sock *tp, const struct sk_buff *skb,
				  struct repeater *known, __u32 segments)
{
	struct destination_key key = {};
	struct destination *to;
	__u8 kind = kind_of(tp, skb);

	if (is_inside(sk)) {
		__sync_fetch_and_add(&watch.inside, segments);
		return;
	}
	name_destination(sk, tp, &key);
	to = destination_of(&key);
	if (!to) {
		__sync_fetch_and_add(&watch.other, segments);
		return;
	}
	add_sent(tp, known, to);
	__sync_fetch_and_add(&to->repeated[kind], segments);
	if (!known->met)
		__sync_fetch_and_add(&to->sockets, 1);
	known->met = 1;
	to->last_ns = bpf_ktime_get_boot_ns();
	note_size(sk, tp, skb, known, to, segments, kind);
}

/* How many segments is the socket's own number (total_retrans), for the tracepoint may tell of some that were not tried. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk, const struct sk_buff *skb)
{
	const struct tcp_skb_cb *control;
	struct repeater fresh = {}, *known;
	struct tcp_sock *tp;
	__u32 segments;
	__u64 address;
	__u8 state = sk->__sk_common.skc_state;

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_NEW_SYN_RECV)
		return 0;
	tp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tp)
		return 0;
	address = address_of(sk);
	known = bpf_map_lookup_elem(&repeaters, &address);
	if (!known) {
		if (!was_retransmitted(skb))
			return 0;
		control = (const struct tcp_skb_cb *)skb->cb;
		fresh.repeated = tp->total_retrans - BPF_CORE_READ(control, tcp_gso_segs);
		known = keep(address, &fresh);
	}
	if (!known) {
		fresh.sent = tp->data_segs_out;
		fresh.duplicates = tp->dsack_dups;
		known = &fresh;
	}
	forget_other(tp, known);
	segments = tp->total_retrans - known->repeated;
	known->repeated = tp->total_retrans;
	if (segments)
		count(sk, tp, skb, known, segments);
	return 0;
}

/* What is left of a socket that ends. What met no room when it was looked for is counted whole. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(end_socket, const struct sock *sk, int old, int new)
{
	struct destination_key key = {};
	struct repeater fresh = {}, *known;
	struct destination *to;
	struct tcp_sock *tp;
	__u64 address;
	bool kept;

	if (new != TCP_CLOSE || old == TCP_LISTEN)
		return 0;
	address = address_of(sk);
	known = bpf_map_lookup_elem(&repeaters, &address);
	kept = known;
	if (!known)
		known = &fresh;
	if (!watch.destinations && !kept)
		return 0;
	tp = old == TCP_SYN_SENT ? NULL : bpf_skc_to_tcp_sock((void *)sk);
	if (tp && watch.destinations && !is_inside(sk)) {
		name_destination(sk, tp, &key);
		to = bpf_map_lookup_elem(&destinations, &key);
		forget_other(tp, known);
		add_sent(tp, known, to);
	}
	if (kept)
		bpf_map_delete_elem(&repeaters, &address);
	return 0;
}

static __always_inline bool is_open(__u8 state)
{
	return state != TCP_LISTEN && state != TCP_CLOSE && state != TCP_SYN_SENT && state != TCP_SYN_RECV;
}

static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket = file ? bpf_sock_from_file(file) : NULL;
	struct sock *sk = socket ? socket->sk : NULL;

	/* A raw socket may have the protocol number of TCP as well, by which bpf_skc_to_tcp_sock() goes. */
	return sk && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM && is_open(sk->__sk_common.skc_state) ? sk : NULL;
}

/* Of a socket that several processes have, the first that is met has all of it. */
static __always_inline void add_owner(struct task_struct *task, const struct destination_key *to,
				      struct repeater *known)
{
	struct repeat_owner_key key = {.to = *to};
	struct repeat_owner fresh = {}, *owner;

	key.pid = number_of(BPF_CORE_READ(task, group_leader), task->tgid, watch.pid_level, watch.pid_namespace);
	bpf_map_update_elem(&owners, &key, &fresh, BPF_NOEXIST);
	owner = bpf_map_lookup_elem(&owners, &key);
	if (!owner)
		return;
	owner->repeated += known->unowned;
	owner->again_full += known->unowned_again;
	known->unowned = 0;
	known->unowned_again = 0;
}

/* Run once, before anything is counted: what all that are open have sent so far. */
SEC("iter/task_file")
int meet_sockets(struct bpf_iter__task_file *ctx)
{
	struct repeater fresh = {};
	struct tcp_sock *tp;
	struct sock *sk;

	if (!ctx->task || !ctx->file)
		return 0;
	sk = socket_of(ctx->file);
	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return 0;
	fresh.sent = tp->data_segs_out;
	fresh.repeated = tp->total_retrans;
	fresh.duplicates = tp->dsack_dups;
	keep(address_of(sk), &fresh);
	return 0;
}

/* Run at a reading where anything was repeated: what all that are open have sent meanwhile. */
SEC("iter/task_file")
int add_open(struct bpf_iter__task_file *ctx)
{
	struct destination_key key = {};
	struct repeater fresh = {}, *known;
	struct task_struct *task = ctx->task;
	struct destination *to;
	struct tcp_sock *tp;
	struct sock *sk;

	if (!task || !ctx->file)
		return 0;
	sk = socket_of(ctx->file);
	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tp)
		return 0;
	if (is_inside(sk))
		return 0;
	name_destination(sk, tp, &key);
	to = bpf_map_lookup_elem(&destinations, &key);
	fresh.repeated = tp->total_retrans;
	known = keep(address_of(sk), &fresh);
	if (!known)
		return 0;
	add_sent(tp, known, to);
	if (to && known->unowned)
		add_owner(task, &key, known);
	return 0;
}

/* Our place among pid namespaces. */
SEC("raw_tp")
int find_place(void *ctx)
{
	find_namespace(watch.pid_level_above, &watch.pid_level, &watch.pid_namespace);
	return 0;
}
