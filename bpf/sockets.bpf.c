// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every socket of the kernel, summed into groups, by two walks that complement each other:
 *
 *   socket_files  all sockets that some process has open (iter/task_file): owners, listeners, unhashed sockets
 *   walk_table    the hash of established TCP sockets, in bounded steps: also orphans, accept queues, kernel sockets and
 *                 namespaces without a process. Sockets with a file are only counted there, to be compared.
 *
 * One pass runs alone (user space makes sure), so scratch space and sums need no atomics.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "compat.bpf.h"
#include "pid_numbers.bpf.h"
#include "sockets.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_UDP 17
#define NAMES_PORT 53
#define IPPROTO_MPTCP 262
#define SOCK_DEAD (1UL << 0) /* bits of sk_flags, include/net/sock.h: enum sock_flags */
#define SOCK_DONE (1UL << 1)
#define TCP_ESTABLISHED 1 /* include/net/tcp_states.h */
#define TCP_SYN_SENT 2
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_CLOSING 11
#define TCP_NEW_SYN_RECV 12
#define TCP_STATE_MAX 13 /* bound, inactive */
#define UNREAD_LARGE 16384
#define FULL_SEGMENT 1460
#define BLOCK_BUCKETS 64 /* buckets read at once */
#define BLOCKS_MAX 64 /* in one step */
/* The verifier walks every turn of a loop: two short ones, one in a function of its own, load in a tenth of the time. */
#define CHAIN_PART 16
#define CHAIN_PARTS 16
#define NETNS_PART 64
#define NETNS_PARTS 64
#define MARK_NONE 2

char LICENSE[] SEC("license") = "GPL";

#define TABLE(name, kind, flags, entries, key_type, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(map_flags, flags); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

/* Raw tracepoint programs must not allocate map memory on old kernels, so only `seen`, used by the iterator, does. */
TABLE(groups, BPF_MAP_TYPE_HASH, 0, 16384, struct group_key, struct group);
TABLE(merged_groups, BPF_MAP_TYPE_HASH, 0, 4096, struct group_key, struct group);
TABLE(hashed, BPF_MAP_TYPE_HASH, 0, 16384, struct hashed_key, struct hashed);
TABLE(owners, BPF_MAP_TYPE_HASH, 0, 16384, __u32, struct owner);
TABLE(marks, BPF_MAP_TYPE_HASH, 0, 65536, __u64, struct mark);
TABLE(seen, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 262144, __u64, __u32);
TABLE(listeners, BPF_MAP_TYPE_ARRAY, 0, 4096, __u32, struct listener);
TABLE(dropping_sockets, BPF_MAP_TYPE_ARRAY, 0, 4096, __u32, struct dropping);
TABLE(name_sockets, BPF_MAP_TYPE_ARRAY, 0, 1024, __u32, struct dropping);
TABLE(stuck_sample, BPF_MAP_TYPE_ARRAY, 0, 2 * STUCK_MAX, __u32, struct stuck);

struct walk walk SEC(".data.walk") = {};

static struct {
	struct group_key key;
	struct group_key merged_key;
	struct group empty;
	struct mark mark;
	struct owner owner;
	struct listener listener;
	struct stuck stuck;
	__u64 block[BLOCK_BUCKETS];
	__u64 last_net;
	__u32 last_netns;
	__u64 deadline_ns;
	__u64 node; /* where the walk is in a chain */
	__u64 net; /* and in the list of all namespaces */
	__u64 first_net;
	__u64 net_operations;
	__u64 wanted_table;
	__u32 table_found;
	__u32 last_tgid;
	__u32 last_pid;
	__u32 jiffies; /* jiffies, as TCP keeps them */
	/* the socket being added */
	__u64 inode;
	__u64 memory;
	__u32 receive;
	__u32 send;
	__u32 unread;
	__u32 unsent;
	__u32 age_class; /* AGE_CLASSES: no age */
	__u32 unchanged;
	__u32 shared;
	__u32 unmarked;
	__u32 copied_seq;
	__u32 snd_una;
} now;

/*
 * The iterator hands out typed pointers, which it may follow directly; the hash walk has bare addresses and must copy.
 * `typed` is a constant wherever this is used, so only one side is compiled.
 */
#define GET(typed, pointer, member) ((typed) ? (pointer)->member : BPF_CORE_READ(pointer, member))

static __always_inline __u32 age_class(__u32 since)
{
	/* AGE_BOUNDS_SECONDS of model/sockets.py; a test compares the two. */
	const __u32 bounds[AGE_CLASSES - 1] = {1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400};
	__u32 ticks = now.jiffies - since, seconds;
	int i;

	if (ticks > -60 * walk.hz) /* it came after we looked at the clock */
		ticks = 0;
	seconds = walk.hz ? ticks / walk.hz : 0;

	for (i = 0; i < AGE_CLASSES - 1; i++)
		if (seconds < bounds[i])
			break;
	return i;
}

static __always_inline void add_to(struct group *group)
{
	group->sockets++;
	group->memory_bytes += (__s64)now.memory;
	group->receive_bytes += now.receive;
	group->send_bytes += now.send;
	group->unread_bytes += now.unread;
	group->unsent_bytes += now.unsent;
	group->unchanged += now.unchanged == 1;
	group->shared += now.shared;
	group->unmarked += now.unmarked;
	if (now.age_class < AGE_CLASSES)
		group->ages[now.age_class]++;
}

static __always_inline struct group *group_of(void *map, struct group_key *key)
{
	struct group *group = bpf_map_lookup_elem(map, key);

	if (group)
		return group;
	bpf_map_update_elem(map, key, &now.empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

/* Adds the socket in `now`. What finds no group loses its endpoint first, then is summed as "other". */
__noinline int add_socket(void)
{
	struct group *group = group_of(&groups, &now.key);

	if (!group) {
		now.merged_key = now.key;
		__builtin_memset(now.merged_key.address, 0, sizeof(now.merged_key.address));
		now.merged_key.port = 0;
		group = group_of(&merged_groups, &now.merged_key);
	}
	if (group) {
		add_to(group);
	} else if (now.key.protocol != PROTOCOL_TCP) {
		walk.uncounted++;
	} else {
		walk.other_sockets++;
		walk.other_memory_bytes += (__s64)now.memory;
	}
	return 0;
}

/* Is this socket the same as in the pass before, and has nobody read from it or acknowledged to it since? */
static __always_inline void compare_mark(__u64 sk)
{
	struct mark *mark = bpf_map_lookup_elem(&marks, &sk);

	now.unchanged = MARK_NONE;
	if (mark && mark->pass_number < walk.pass_number)
		now.unchanged =
			mark->inode == now.inode && mark->copied_seq == now.copied_seq && mark->snd_una == now.snd_una;
	now.mark.inode = now.inode;
	now.mark.copied_seq = now.copied_seq;
	now.mark.snd_una = now.snd_una;
	now.mark.pass_number = walk.pass_number;
	if (bpf_map_update_elem(&marks, &sk, &now.mark, BPF_ANY))
		now.unmarked = 1;
	else if (!mark)
		walk.marks_used++;
}

static __always_inline bool is_v4_mapped(struct in6_addr *address)
{
	return !address->in6_u.u6_addr32[0] && !address->in6_u.u6_addr32[1] &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

static __always_inline void read_address(unsigned char *to, struct sock *sk, bool remote, unsigned char *family)
{
	struct in6_addr v6 = {};
	__u16 sk_family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__be32 v4;

	__builtin_memset(to, 0, 16);
	if (sk_family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		if (remote)
			BPF_CORE_READ_INTO(&v6, sk, __sk_common.skc_v6_daddr);
		else
			BPF_CORE_READ_INTO(&v6, sk, __sk_common.skc_v6_rcv_saddr);
		if (!is_v4_mapped(&v6)) {
			__builtin_memcpy(to, &v6, 16);
			*family = 6;
			return;
		}
		v4 = v6.in6_u.u6_addr32[3];
	} else {
		v4 = remote ? BPF_CORE_READ(sk, __sk_common.skc_daddr) : BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	}
	__builtin_memcpy(to, &v4, 4);
	*family = 4;
}

static __always_inline __u32 hash_end(unsigned char *address, __u16 port)
{
	__u32 *words = (__u32 *)address;

	return ((words[0] * 31 + words[1]) * 31 + words[2]) * 31 + words[3] + port * 0x9e3779b1;
}

/* The same for both ends of a connection. */
static __always_inline __u32 hash_pair(struct stuck *s)
{
	__u32 hash = hash_end(s->local_address, s->local_port) + hash_end(s->remote_address, s->remote_port);

	hash = (hash ^ (hash >> 16)) * 0x85ebca6b; /* finalizer of MurmurHash3 */
	hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
	return hash ^ (hash >> 16);
}

/*
 * Keeps an even sample of readers and of holders. Of all that fall into one slot the smallest hash wins, so that of a
 * connection whose two ends are on this node both are kept or neither is.
 */
static __always_inline void keep_stuck(struct sock *sk)
{
	struct stuck *slot;
	__u32 index;

	walk.stuck_total++;
	now.stuck.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	now.stuck.remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	read_address(now.stuck.local_address, sk, false, &now.stuck.family);
	read_address(now.stuck.remote_address, sk, true, &now.stuck.family);
	now.stuck.hash = hash_pair(&now.stuck);
	index = now.stuck.hash % STUCK_MAX;
	if (now.key.symptom == SYMPTOM_WINDOW_CLOSED)
		index += STUCK_MAX;
	slot = bpf_map_lookup_elem(&stuck_sample, &index);
	if (!slot || (slot->pass_number == walk.pass_number && slot->hash < now.stuck.hash))
		return;
	now.stuck.pid = now.key.pid;
	now.stuck.netns = now.key.netns;
	now.stuck.role = now.key.role;
	now.stuck.holding = now.key.holding;
	now.stuck.symptom = now.key.symptom;
	now.stuck.memory_bytes = (__s64)now.memory;
	now.stuck.unread_bytes = now.unread;
	now.stuck.unsent_bytes = now.unsent;
	now.stuck.unchanged = now.unchanged;
	now.stuck.pass_number = walk.pass_number;
	*slot = now.stuck;
}

static __always_inline void keep_listener(struct sock *sk)
{
	struct listener *slot;
	__u32 index = walk.listeners_total++;

	slot = bpf_map_lookup_elem(&listeners, &index);
	if (!slot)
		return;
	slot->pid = now.key.pid;
	slot->netns = now.key.netns;
	slot->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	slot->waiting = BPF_CORE_READ(sk, sk_ack_backlog);
	slot->limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	slot->requests = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_accept_queue.qlen.counter);
	slot->shared = now.shared;
	read_address(slot->address, sk, false, &slot->family);
}

static __always_inline void describe_udp(struct dropping *slot, struct sock *sk, __u32 dropped)
{
	slot->inode = now.inode;
	slot->pid = now.key.pid;
	slot->netns = now.key.netns;
	slot->dropped = dropped;
	slot->unread_bytes = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	slot->limit_bytes = BPF_CORE_READ(sk, sk_rcvbuf);
	slot->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	slot->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	slot->shared = now.shared;
	read_address(slot->local_address, sk, false, &slot->family);
	read_address(slot->remote_address, sk, true, &slot->family);
}

static __always_inline void keep_dropping(struct sock *sk, __u32 dropped)
{
	struct dropping *slot;
	__u32 index = walk.dropping_total++;

	slot = bpf_map_lookup_elem(&dropping_sockets, &index);
	if (slot)
		describe_udp(slot, sk, dropped);
}

static __always_inline void keep_names(struct sock *sk, __u32 dropped)
{
	struct dropping *slot;
	__u32 index = walk.names_total++;

	slot = bpf_map_lookup_elem(&name_sockets, &index);
	if (slot)
		describe_udp(slot, sk, dropped);
}

/* A UDP socket that asks a name server, or is one. */
static __always_inline bool is_for_names(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_dport) == bpf_htons(NAMES_PORT) ||
	       BPF_CORE_READ(sk, __sk_common.skc_num) == NAMES_PORT;
}

/* sk_clone() copies the backlog limit of the listener into each connection it accepts; connect() leaves it zero. */
static __always_inline __u8 role_of(bool typed, struct sock *sk, __u8 state)
{
	if (state == TCP_LISTEN)
		return ROLE_LISTENER;
	if (GET(typed, sk, sk_max_ack_backlog))
		return ROLE_ACCEPTED;
	return state == TCP_CLOSE ? ROLE_UNCONNECTED : ROLE_INITIATED;
}

static __always_inline void read_memory(bool typed, struct sock *sk)
{
	now.receive = GET(typed, sk, sk_backlog.rmem_alloc.counter);
	now.send = GET(typed, sk, sk_wmem_queued);
	now.memory = (__s64)now.receive + now.send + GET(typed, sk, sk_forward_alloc);
}

/*
 * Bytes as ss shows them; a received FIN takes a sequence number but is nothing to read (net/ipv4/tcp.c: tcp_inq). What
 * waits in a queue is charged to it, so an idle socket is known by its charges alone: sequence numbers are further
 * cache lines, and with many sockets those are what a pass costs.
 */
static __always_inline void read_queues(bool typed, struct sock *sk, struct tcp_sock *tp, __u8 state)
{
	if (state == TCP_LISTEN || state == TCP_CLOSE)
		return;
	if (now.receive) {
		now.copied_seq = GET(typed, tp, copied_seq);
		now.unread = GET(typed, tp, rcv_nxt) - now.copied_seq;
		if ((__s32)now.unread < 0)
			now.unread = 0;
		if (now.unread && (GET(typed, sk, __sk_common.skc_flags) & SOCK_DONE))
			now.unread--;
	}
	if (now.send) {
		now.snd_una = GET(typed, tp, snd_una);
		now.unsent = GET(typed, tp, write_seq) - now.snd_una;
	}
}

/* Less than one segment of Ethernet size is offered; on loopback, where segments are huge, that is still a full window. */
static __always_inline bool receive_window_full(bool typed, struct tcp_sock *tp)
{
	return (__s32)(GET(typed, tp, rcv_wup) + GET(typed, tp, rcv_wnd) - GET(typed, tp, rcv_nxt)) < FULL_SEGMENT;
}

/* Nothing is on its way although there is something to send, and what the peer still takes is less than a segment. */
static __always_inline bool peer_window_closed(bool typed, struct tcp_sock *tp)
{
	__u32 window = GET(typed, tp, snd_wnd);
	__u32 unsent_at = GET(typed, tp, snd_nxt);

	if (!window)
		return true;
	if (GET(typed, tp, packets_out) || GET(typed, tp, write_seq) == unsent_at)
		return false;
	return (__s32)(now.snd_una + window - unsent_at) < (__s32)GET(typed, tp, mss_cache);
}

static __always_inline __u8 symptom_of(bool typed, struct sock *sk, struct tcp_sock *tp, __u8 state)
{
	switch (state) {
	case TCP_CLOSE:
		if (GET(typed, sk, __sk_common.skc_dport) || GET(typed, tp, segs_out))
			return SYMPTOM_DEAD;
		return SYMPTOM_NEVER_CONNECTED;
	case TCP_LISTEN:
	case TCP_SYN_SENT:
		return SYMPTOM_NONE;
	}
	if (now.unread >= UNREAD_LARGE || (now.unread && receive_window_full(typed, tp)))
		return SYMPTOM_UNREAD;
	if (now.unsent && peer_window_closed(typed, tp))
		return SYMPTOM_WINDOW_CLOSED;
	return SYMPTOM_NONE;
}

/*
 * Once the peer has closed, or before anybody has accepted, time runs from the last segment; otherwise from the last data
 * in either direction. A socket that never had a peer has no time.
 */
static __always_inline void read_age(bool typed, struct tcp_sock *tp, __u8 state)
{
	__u32 received, sent;

	now.jiffies = bpf_jiffies64();
	now.age_class = AGE_CLASSES;
	if (state == TCP_CLOSE || state == TCP_LISTEN || state == TCP_SYN_SENT)
		return;
	if (state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING ||
	    now.key.holding == HELD_IN_ACCEPT_QUEUE) {
		now.age_class = age_class(GET(typed, tp, rcv_tstamp));
		return;
	}
	received = GET(typed, tp, inet_conn.icsk_ack.lrcvtime);
	sent = GET(typed, tp, lsndtime);
	now.age_class = age_class((__s32)(received - sent) > 0 ? received : sent);
}

static __always_inline void read_endpoint(struct sock *sk)
{
	__builtin_memset(now.key.address, 0, sizeof(now.key.address));
	now.key.port = 0;
	if (now.key.role == ROLE_INITIATED || now.key.symptom == SYMPTOM_DEAD) {
		if (now.key.role == ROLE_ACCEPTED)
			return; /* the local port is given back, and its many clients are no group */
		read_address(now.key.address, sk, true, &now.key.family);
		now.key.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	} else if (now.key.role != ROLE_UNCONNECTED) {
		now.key.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	}
}

/* Fills `now` for a full TCP socket whose pid, netns and holding are already set, and adds it. */
static __always_inline void add_tcp(bool typed, struct sock *sk, struct tcp_sock *tp, struct file *file)
{
	__u8 state = GET(typed, sk, __sk_common.skc_state);

	now.key.protocol = PROTOCOL_TCP;
	now.key.family = GET(typed, sk, __sk_common.skc_family) == AF_INET6 ? 6 : 4;
	now.key.state = state;
	now.key.role = role_of(typed, sk, state);
	read_memory(typed, sk);
	read_queues(typed, sk, tp, state);
	now.key.symptom = symptom_of(typed, sk, tp, state);
	read_age(typed, tp, state);
	read_endpoint(sk);
	if (now.key.symptom != SYMPTOM_NONE || now.key.holding == HELD_IN_ACCEPT_QUEUE) {
		if (now.key.holding == HELD_IN_ACCEPT_QUEUE)
			now.snd_una = GET(typed, tp, snd_una); /* its first number tells one connection from another */
		if (typed)
			now.inode = file->f_inode->i_ino;
		compare_mark((__u64)sk);
	}
	if (now.key.symptom == SYMPTOM_UNREAD || now.key.symptom == SYMPTOM_WINDOW_CLOSED)
		keep_stuck(sk);
	if (state == TCP_LISTEN)
		keep_listener(sk);
	add_socket();
}

static __always_inline void forget_socket(void)
{
	__builtin_memset(&now.key, 0, sizeof(now.key));
	now.inode = 0;
	now.memory = 0;
	now.receive = now.send = now.unread = now.unsent = 0;
	now.copied_seq = now.snd_una = 0;
	now.age_class = AGE_CLASSES;
	now.unchanged = MARK_NONE;
	now.shared = 0;
	now.unmarked = 0;
}

static __always_inline __u8 protocol_of(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family == AF_UNIX)
		return PROTOCOL_UNIX;
	if (family != AF_INET && family != AF_INET6)
		return PROTOCOL_OTHER;
	switch (BPF_CORE_READ(sk, sk_protocol)) {
	case IPPROTO_UDP:
		return PROTOCOL_UDP;
	case IPPROTO_MPTCP:
		return PROTOCOL_MPTCP;
	}
	return PROTOCOL_OTHER;
}

/* The iterator goes process by process, so a name is taken once, when the first socket of a process comes along. */
static __always_inline void keep_owner(struct task_struct *task, __u32 tgid)
{
	if (tgid == now.last_tgid)
		return;
	now.last_tgid = tgid;
	now.last_pid = number_of(BPF_CORE_READ(task, group_leader), tgid, walk.pid_level, walk.pid_namespace);
	now.owner.start_boottime_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	now.owner.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	BPF_CORE_READ_INTO(&now.owner.comm, task, group_leader, comm);
	if (bpf_map_update_elem(&owners, &now.last_pid, &now.owner, BPF_ANY))
		walk.other_owners++;
}

/* True if another descriptor of the same file was counted in this pass. */
static __always_inline bool already_counted(struct file *file, __u64 sk)
{
	__u32 *pass;

	if (file_references(file) <= 2) /* one descriptor and the iterator itself */
		return false;
	now.shared = 1;
	pass = bpf_map_lookup_elem(&seen, &sk);
	if (pass && *pass == walk.pass_number)
		return true;
	if (bpf_map_update_elem(&seen, &sk, &walk.pass_number, BPF_ANY))
		walk.not_deduplicated++;
	return false;
}

SEC("iter/task_file")
int socket_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_sock *tp;
	struct socket *socket;
	struct sock *sk;
	__u32 dropped;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	if (!sk)
		return 0;
	forget_socket();
	if (already_counted(file, (__u64)sk))
		return 0;
	keep_owner(task, task->tgid);
	now.key.pid = now.last_pid;
	now.key.netns = sk->__sk_common.skc_net.net->ns.inum;
	now.key.holding = HELD_BY_DESCRIPTOR;
	/* A raw socket may have the protocol number of TCP as well, by which that helper goes. */
	tp = BPF_CORE_READ(sk, sk_type) == SOCK_STREAM ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (tp) {
		add_tcp(true, sk, tp, file);
		return 0;
	}
	now.key.protocol = protocol_of(sk);
	now.key.role = ROLE_UNCONNECTED;
	if (now.key.protocol == PROTOCOL_MPTCP && sk->__sk_common.skc_state == TCP_LISTEN)
		keep_listener(sk);
	if (now.key.protocol == PROTOCOL_UDP) {
		now.inode = file->f_inode->i_ino;
		dropped = socket_drops(sk);
		if (dropped)
			keep_dropping(sk, dropped);
		if (is_for_names(sk))
			keep_names(sk, dropped);
	}
	add_socket();
	return 0;
}

/* Namespaces repeat, so the number of the last one saves two reads. */
static __always_inline __u32 netns_number(__u64 net)
{
	if (net != now.last_net) {
		now.last_net = net;
		now.last_netns = BPF_CORE_READ((struct net *)net, ns.inum);
	}
	return now.last_netns;
}

/*
 * A user's socket, so socket_files has it too, unless no process holds its file. Only numbers are compared at first; where
 * they differ user space asks for a second walk that also reads the memory and tells the sockets that have no file at all.
 */
static __always_inline void count_user(struct sock *sk, __u32 netns, __u8 state, bool without_file)
{
	struct hashed_key key = {.netns = netns, .state = state, .without_file = without_file};
	struct hashed *sum = bpf_map_lookup_elem(&hashed, &key), empty = {};

	if (!sum) {
		bpf_map_update_elem(&hashed, &key, &empty, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&hashed, &key);
	}
	if (!sum) {
		walk.uncounted++;
		return;
	}
	sum->sockets++;
	if (walk.detailed) {
		read_memory(false, sk);
		sum->memory_bytes += (__s64)now.memory;
	}
}

/* One socket of the established hash. User sockets hold their namespace (sk_net_refcnt), most of the kernel's do not. */
__noinline int add_hashed(__u64 address)
{
	struct sock *sk = (struct sock *)address;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct socket *socket;
	__u32 netns;
	bool user;

	walk.visited++;
	if (!state || state > TCP_STATE_MAX) {
		walk.uncounted++;
		return 0;
	}
	if (state == TCP_TIME_WAIT) {
		walk.time_wait += !walk.detailed;
		return 0;
	}
	if (state == TCP_NEW_SYN_RECV) {
		walk.request_sockets += !walk.detailed;
		return 0;
	}
	netns = netns_number((__u64)BPF_CORE_READ(sk, __sk_common.skc_net.net));
	socket = BPF_CORE_READ(sk, sk_socket);
	user = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_net_refcnt);
	if (socket && user) {
		count_user(sk, netns, state, walk.detailed && !BPF_CORE_READ(socket, file));
		return 0;
	}
	if (walk.detailed)
		return 0;
	forget_socket();
	now.key.netns = netns;
	if (socket)
		now.key.holding = HELD_BY_KERNEL;
	else if (BPF_CORE_READ(sk, __sk_common.skc_flags) & SOCK_DEAD)
		now.key.holding = HELD_AS_ORPHAN;
	else
		now.key.holding = HELD_IN_ACCEPT_QUEUE;
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		now.key.cgroup_id = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	add_tcp(false, sk, (struct tcp_sock *)sk, NULL);
	return 0;
}

/* Follows a chain for CHAIN_PART sockets; returns 1 at its end. */
__noinline int walk_chain_part(void)
{
	const __u32 node_offset = bpf_core_field_offset(struct sock, __sk_common.skc_nulls_node);
	int i;

	for (i = 0; i < CHAIN_PART; i++) {
		if (!now.node || (now.node & 1))
			return 1;
		add_hashed(now.node - node_offset);
		if (bpf_probe_read_kernel(&now.node, sizeof(now.node), (void *)now.node))
			now.node = 0;
	}
	return 0;
}

/* Lists are lockless: a socket may move while we follow it, which the number at the end of the chain tells. */
__noinline int walk_chain(__u64 first, __u32 bucket)
{
	int i;

	now.node = first;
	for (i = 0; i < CHAIN_PARTS; i++) {
		if (!walk_chain_part())
			continue;
		if (!now.node || (__u32)(now.node >> 1) != bucket)
			walk.moved_chains++;
		return 0;
	}
	walk.long_chains++;
	return 0;
}

static __always_inline bool step_is_over(void)
{
	return walk.visited >= walk.step_sockets || bpf_ktime_get_ns() >= now.deadline_ns;
}

/* BLOCK_BUCKETS buckets, read at once; returns 1 where the step has to end. */
__noinline int walk_block(__u64 ehash)
{
	__u32 first = walk.bucket, i;
	__u64 count;

	if (first >= walk.buckets)
		return 1;
	count = walk.buckets - first;
	barrier_var(count); /* or the compiler compares a copy and the verifier sees no bound */
	if (count > BLOCK_BUCKETS)
		count = BLOCK_BUCKETS;
	if (bpf_probe_read_kernel(now.block, count * sizeof(now.block[0]), (void *)(ehash + (__u64)first * 8))) {
		walk.bucket = walk.buckets;
		walk.long_chains++;
		return 1;
	}
	for (i = 0; i < BLOCK_BUCKETS; i++) {
		if (i >= count)
			break;
		if (now.block[i] & 1)
			continue;
		walk_chain(now.block[i], first + i);
		if (step_is_over()) {
			walk.bucket = first + i + 1;
			return 1;
		}
	}
	walk.bucket = first + count;
	return step_is_over();
}

/* Most namespaces share one hash; one with net.ipv4.tcp_child_ehash_entries has its own. */
__noinline int keep_table(__u64 table)
{
	__u32 i;

	for (i = 0; i < TABLES_MAX; i++) {
		if (i >= walk.tables_total) {
			walk.tables[i] = table;
			walk.tables_total++;
			return 0;
		}
		if (walk.tables[i] == table)
			return 0;
	}
	walk.unlisted = 1;
	return 0;
}

/*
 * One namespace of the kernel's list of all; returns 1 at the end. The list's head is not in a namespace: it is known by
 * what stands where a namespace would keep its operations.
 */
__noinline int visit_net(void)
{
	struct net *net = (struct net *)now.net;
	struct list_head *next;

	if ((__u64)BPF_CORE_READ(net, ns.ops) == now.net_operations) {
		if (now.wanted_table) {
			now.table_found |= (__u64)net_hashinfo(net) == now.wanted_table;
		} else {
			walk.netns_total++;
			keep_table((__u64)net_hashinfo(net));
		}
	}
	next = BPF_CORE_READ(net, list.next);
	now.net = (__u64)next - bpf_core_field_offset(struct net, list);
	return !next || now.net == now.first_net;
}

__noinline int visit_nets(void)
{
	int i;

	for (i = 0; i < NETNS_PART; i++)
		if (visit_net())
			return 1;
	return 0;
}

static __always_inline bool visit_all_nets(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct net *net = BPF_CORE_READ(task, nsproxy, net_ns);
	int i;

	now.net = now.first_net = (__u64)net;
	now.net_operations = (__u64)BPF_CORE_READ(net, ns.ops);
	for (i = 0; i < NETNS_PARTS; i++)
		if (visit_nets())
			return true;
	return false;
}

/*
 * A namespace's own table is freed after a grace period that follows its removal from the list (cleanup_net), so a table
 * that is listed now stays until this program ends. The first table is that of our own namespace.
 */
static __always_inline bool still_listed(__u64 table)
{
	now.wanted_table = table;
	now.table_found = 0;
	visit_all_nets();
	now.wanted_table = 0;
	return now.table_found;
}

/* One step of the walk through table number walk.table; returns 1 while buckets are left, 0 at the end. */
SEC("raw_tp")
int walk_table(void *ctx)
{
	__u64 begin = bpf_ktime_get_ns(), taken;
	struct inet_hashinfo *table;
	__u64 ehash;
	int i;

	if (walk.table >= TABLES_MAX)
		return 0;
	table = (struct inet_hashinfo *)walk.tables[walk.table];
	if (walk.table > 0 && !still_listed((__u64)table)) {
		walk.uncounted++;
		return 0;
	}
	ehash = (__u64)BPF_CORE_READ(table, ehash);
	walk.buckets = BPF_CORE_READ(table, ehash_mask) + 1;
	walk.visited = 0;
	now.jiffies = bpf_jiffies64();
	now.deadline_ns = begin + walk.step_ns;
	for (i = 0; i < BLOCKS_MAX; i++)
		if (walk_block(ehash))
			break;
	taken = bpf_ktime_get_ns() - begin;
	if (taken > walk.longest_step_ns)
		walk.longest_step_ns = taken;
	return walk.bucket < walk.buckets;
}

/* Begins a pass: our place, and the hash tables of all namespaces. */
SEC("raw_tp")
int list_tables(void *ctx)
{
	__u64 begin = bpf_ktime_get_ns();

	find_namespace(walk.pid_level_above, &walk.pid_level, &walk.pid_namespace);
	now.last_tgid = 0;
	now.wanted_table = 0;
	if (!visit_all_nets())
		walk.unlisted = 1;
	walk.longest_step_ns = bpf_ktime_get_ns() - begin;
	return 0;
}
