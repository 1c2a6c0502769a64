/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The records that sockets.bpf.c hands to user space. This header owns their layout: the BPF program includes it, and
 * the Python extension is compiled from it.
 */
#ifndef WHODUNNET_SOCKETS_H
#define WHODUNNET_SOCKETS_H

#define AGE_CLASSES 12
#define STUCK_MAX 8192 /* of readers, and as many of holders */
#define TABLES_MAX 32

enum protocol { PROTOCOL_TCP, PROTOCOL_MPTCP, PROTOCOL_UDP, PROTOCOL_UNIX, PROTOCOL_OTHER };
enum role { ROLE_LISTENER, ROLE_ACCEPTED, ROLE_INITIATED, ROLE_UNCONNECTED };
enum holding { HELD_BY_DESCRIPTOR, HELD_IN_ACCEPT_QUEUE, HELD_AS_ORPHAN, HELD_BY_KERNEL };
enum symptom { SYMPTOM_NONE, SYMPTOM_UNREAD, SYMPTOM_WINDOW_CLOSED, SYMPTOM_NEVER_CONNECTED, SYMPTOM_DEAD };

struct group_key {
	unsigned int pid; /* in our pid namespace, 0: no process */
	unsigned int netns; /* inode number */
	unsigned long long cgroup_id; /* cgroup v2, only where there is no process */
	unsigned char address[16]; /* of the peer, for initiated connections; IPv4 in the first four bytes */
	unsigned short port; /* of the peer, or the local one of listeners and accepted connections; host order */
	unsigned char family; /* 4, 6 or 0 */
	unsigned char protocol;
	unsigned char state; /* TCP state number */
	unsigned char role;
	unsigned char holding;
	unsigned char symptom;
};

struct group {
	unsigned long long sockets;
	long long memory_bytes;
	unsigned long long receive_bytes;
	unsigned long long send_bytes;
	unsigned long long unread_bytes;
	unsigned long long unsent_bytes;
	unsigned long long unchanged;
	unsigned long long shared;
	unsigned long long unmarked; /* found no room to be compared in the next pass */
	unsigned int ages[AGE_CLASSES];
};

/* Sockets of the established hash that users made: only their sum, to be compared with what processes have open. */
struct hashed_key {
	unsigned int netns;
	unsigned short state;
	unsigned short without_file; /* known in a detailed walk only */
};

struct hashed {
	unsigned long long sockets;
	long long memory_bytes;
};

struct owner {
	unsigned long long start_boottime_ns;
	unsigned int netns;
	char comm[16];
	unsigned int padding;
};

struct listener {
	unsigned int pid;
	unsigned int netns;
	unsigned int waiting;
	unsigned int limit;
	unsigned char address[16];
	unsigned short port;
	unsigned char family;
	unsigned char shared;
	unsigned int requests; /* that wait for the third packet of their handshake */
};

/* A UDP socket that ever dropped a packet, or one that names are asked for through. */
struct dropping {
	unsigned long long inode;
	unsigned int pid;
	unsigned int netns;
	unsigned int dropped;
	unsigned int unread_bytes; /* with the kernel's own share, as the limit has it */
	unsigned int limit_bytes;
	unsigned short local_port;
	unsigned short remote_port;
	unsigned char local_address[16];
	unsigned char remote_address[16];
	unsigned char family;
	unsigned char shared;
	unsigned char padding[6];
};

/* Where a socket with a symptom stood, to be compared in the next pass. */
struct mark {
	unsigned long long inode;
	unsigned int copied_seq;
	unsigned int snd_una;
	unsigned int pass_number;
	unsigned int padding;
};

struct stuck {
	unsigned int pid;
	unsigned int netns;
	unsigned char local_address[16];
	unsigned char remote_address[16];
	unsigned short local_port;
	unsigned short remote_port;
	unsigned char family;
	unsigned char role;
	unsigned char holding;
	unsigned char symptom;
	long long memory_bytes;
	unsigned int unread_bytes;
	unsigned int unsent_bytes;
	unsigned int unchanged; /* 0 no, 1 yes, 2 there was no earlier reading */
	unsigned int hash; /* of both ends */
	unsigned int pass_number; /* in which it was written: others are left over */
	unsigned int padding;
};

/* One run of the walks: user space sets the upper part and resets the lower part before a pass. */
struct walk {
	unsigned int hz; /* ticks a second */
	unsigned int pid_level_above; /* how far the pid namespace of our procfs is above ours */
	unsigned int pid_level; /* depth of the pid namespace of our procfs */
	unsigned int pid_namespace; /* its inode */
	unsigned int pass_number; /* number of this pass, from 1 */
	unsigned int step_ns; /* a step of the hash walk ends after this time ... */
	unsigned int step_sockets; /* ... or this many sockets */
	unsigned int table; /* which of `tables` is being walked */
	unsigned int detailed; /* a second walk, only for `hashed`, with memory */

	unsigned int marks_used; /* kept from pass to pass */
	unsigned int bucket; /* cursor: next bucket */
	unsigned int buckets; /* of this table */
	unsigned int netns_total;
	unsigned int tables_total; /* distinct hash tables of established sockets */
	unsigned long long tables[TABLES_MAX];
	unsigned long long longest_step_ns;
	unsigned long long time_wait;
	unsigned long long request_sockets;
	unsigned long long visited; /* in this step */
	unsigned long long stuck_total;
	unsigned long long listeners_total;
	unsigned long long dropping_total;
	unsigned long long names_total;
	unsigned long long other_sockets; /* fitted in no group */
	long long other_memory_bytes;
	unsigned long long other_owners; /* processes whose name found no room */
	unsigned long long uncounted; /* sockets and tables that could not be added to any sum */
	unsigned long long unlisted; /* 1 if there were more namespaces or hash tables than are listed */
	unsigned long long moved_chains; /* a socket moved to another chain while we followed it */
	unsigned long long long_chains; /* longer than we follow */
	unsigned long long not_deduplicated; /* shared sockets that may have been counted twice */
};

#endif
