/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types that our programs read, and of each type only the members used. CO-RE finds the real offsets in the
 * running kernel's BTF, so order and completeness do not matter here; names and types do.
 */
#ifndef WHODUNNET_VMLINUX_H
#define WHODUNNET_VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;

#define true 1
#define false 0

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1 << 10,
};

enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

struct hlist_nulls_node {
	struct hlist_nulls_node *next;
};

struct hlist_nulls_head {
	struct hlist_nulls_node *first;
};

struct proc_ns_operations;

struct ns_common {
	unsigned int inum;
	const struct proc_ns_operations *ops;
};

struct inet_ehash_bucket {
	struct hlist_nulls_head chain;
};

struct inet_hashinfo {
	struct inet_ehash_bucket *ehash;
	unsigned int ehash_mask;
};

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
};

struct netns_ipv4 {
	struct inet_timewait_death_row tcp_death_row;
};

struct net {
	struct list_head list;
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_net_refcnt : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
	struct hlist_nulls_node skc_nulls_node;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct inode {
	unsigned long i_ino;
};

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	atomic_long_t refcnt;
} file_ref_t;

struct file {
	struct inode *f_inode;
	file_ref_t f_ref;
};

struct sock;

struct socket {
	struct file *file;
	struct sock *sk;
};

typedef struct {
	int owned;
} socket_lock_t;

struct numa_drop_counters {
	atomic_t drops0;
	atomic_t drops1;
};

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	struct socket *sk_socket;
	int sk_forward_alloc;
	int sk_wmem_queued;
	int sk_rcvbuf;
	atomic_t sk_drops;
	struct numa_drop_counters *sk_drop_counters;
	__u16 sk_protocol;
	__u16 sk_type;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	struct dst_entry *sk_dst_cache;
	struct sock_cgroup_data sk_cgrp_data;
};

struct net_device {
	char name[16];
	unsigned int mtu;
};

struct dst_entry {
	struct net_device *dev;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct {
		atomic_t qlen;
	} icsk_accept_queue;
	__u32 icsk_pmtu_cookie;
	__u8 icsk_ca_state : 5;
	__u8 icsk_backoff;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 tcp_mstamp;
	__u32 snd_wnd;
	__u32 mss_cache;
	__u32 copied_seq;
	__u32 segs_out;
	__u32 data_segs_out;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u32 total_retrans;
	__u32 write_seq;
	__u32 lsndtime;
	__u32 rcv_nxt;
	__u32 rcv_wup;
	__u32 rcv_wnd;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 packets_out;
	__u32 sacked_out;
	__u32 dsack_dups;
	__u32 rcv_tstamp;
	__u32 retrans_stamp;
	__u8 tcp_usec_ts : 1;
};

struct sk_buff_head {
	__u32 qlen;
};

struct softnet_data {
	struct sk_buff_head process_queue;
	struct sk_buff_head input_pkt_queue;
	unsigned int input_queue_tail;
};

struct sk_buff {
	unsigned int len;
	char cb[48];
};

struct trace_event_raw_tcp_retransmit_skb {
	int err;
};

struct tcp_skb_cb {
	__u32 end_seq;
	union {
		struct {
			__u16 tcp_gso_segs;
		};
	};
	__u8 sacked;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct nsproxy {
	struct net *net_ns;
};

struct thread_info {
	unsigned long flags;
#if defined(__TARGET_ARCH_x86)
	__u32 status;
#elif defined(__TARGET_ARCH_arm64)
	__u64 preempt_count;
#endif
};

struct sched_info {
	unsigned long long run_delay;
};

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	__s32 syscallno;
#endif
};

struct rq;

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
	unsigned int next_fd;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int prio;
	struct sched_entity se;
	struct sched_info sched_info;
	int pid;
	int tgid;
	unsigned long nvcsw;
	unsigned long nivcsw;
	struct css_set *cgroups;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	char comm[16];
	struct nsproxy *nsproxy;
	struct files_struct *files;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
