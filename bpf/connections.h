/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The records that connections.bpf.c hands to user space. This header owns their layout: the BPF program includes it, and
 * the Python extension is compiled from it.
 */
#ifndef WHODUNNET_CONNECTIONS_H
#define WHODUNNET_CONNECTIONS_H

#define IDLE_STEPS 6
#define IDLE_CLASSES 512 /* the last one without end */
#define CONNECT_CLASSES 56 /* class 2n begins at 2^n us, class 2n + 1 at 1.5 times that */
#define UNDER_WAY_SLOTS 64
#define UNDER_WAY_BITS 28 /* a slot is 2^28 ns */

enum end_role { END_INITIATED, END_ACCEPTED };

/*
 * What happened to one end of a connection. Each that was open gets exactly one of CLOSED_HERE,
 * CLOSED_BY_PEER, or RESET_SENT, RESET_RECEIVED, TIMED_OUT, BROKEN in the state "established". What comes in a later state
 * comes on top of that, and so do SYN_RETRANSMITTED and LATE_DATA.
 */
enum ending {
	ENDING_OPENED, /* initiated here */
	ENDING_CLOSED_HERE,
	ENDING_CLOSED_BY_PEER,
	ENDING_RESET_SENT,
	ENDING_RESET_RECEIVED,
	ENDING_TIMED_OUT,
	ENDING_BROKEN, /* by another error: an ICMP message, or by hand (ss --kill) */
	ENDING_REFUSED, /* connecting: answered by a reset */
	ENDING_REJECTED, /* connecting: answered by "port unreachable" or the like (ICMP) */
	ENDING_GIVEN_UP, /* connecting: its own process closed it before any answer */
	ENDING_NOT_SENT, /* connecting: it failed here, before the first SYN (no free port) */
	ENDING_SYN_RETRANSMITTED, /* counts SYNs */
	ENDING_LATE_DATA, /* we closed, then data came and was answered by a reset; counts resets */
	ENDINGS,
};

struct end_key {
	unsigned int pid; /* in our pid namespace, 0: not known, or it has none there */
	unsigned int process_started; /* tells apart who had this number, and who has none: in 2^20 ns */
	unsigned int netns; /* inode number */
	unsigned char server_address[16]; /* IPv4 in the first four bytes */
	unsigned char client_address[16];
	unsigned short server_port; /* host order */
	unsigned short span_class; /* of the time: connect class of ENDING_OPENED, idle class of all others */
	unsigned char family; /* 4 or 6 */
	unsigned char role;
	unsigned char ending;
	unsigned char state; /* TCP state number in which it happened */
	unsigned char merged; /* for lack of room: without client and span_class */
	/*
	 * Whoever closed had just sent something, and before that it was quiet: time runs from the last data the other way.
	 * That is a farewell (TLS), or an answer that took as long.
	 */
	unsigned char last_word;
	/* Of resets while open, and of those received after the peer's close: the client had sent data, the other end none. */
	unsigned char unanswered;
	/* Of resets after the peer's close: what was written since is a request. While open: it was not acknowledged yet. */
	unsigned char asked;
};

struct end {
	unsigned long long connections;
	unsigned long long time; /* their sum, ms; us of ENDING_OPENED */
	unsigned long long process_started_ns; /* on the boot clock */
	char comm[16];
};

/* An open connection that was initiated here, or accepted by a listener without a backlog. */
struct connection {
	unsigned long long socket; /* its address, 0: the place is free */
	unsigned long long began_ns; /* first SYN sent, monotonic clock; 0: not seen */
	unsigned long long process_started_ns; /* 0: the process is not known */
	unsigned long long retransmitted; /* the socket's own number (total_retrans) when SYNs were counted last */
	char comm[16];
	unsigned int pid;
	unsigned int last_data; /* jiffies at the last data in either direction before a close, 0: there was none */
	unsigned int written; /* write_seq when last_data was kept */
	unsigned char role;
	unsigned char reset; /* a reset was received */
	unsigned char under_way; /* it is counted in watch.under_way[slot] */
	unsigned char slot;
};

/* A server's port on which somebody has closed an accepted connection. */
struct served_key {
	unsigned int netns;
	unsigned int port;
};

/* Idle times below `until_ms` are in classes of `step_ms`; rows in rising order, the last one without end. */
struct idle_step {
	unsigned int until_ms;
	unsigned int step_ms;
	unsigned int first_class;
};

/* User space sets the upper part. */
struct watch {
	unsigned int hz; /* ticks a second */
	unsigned int pid_level_above; /* how far the pid namespace of our procfs is above ours */
	struct idle_step idle_steps[IDLE_STEPS];

	unsigned int pid_level; /* depth of the pid namespace of our procfs */
	unsigned int pid_namespace; /* its inode */
	unsigned long long untracked; /* connections that found no room */
	unsigned long long other[ENDINGS]; /* fitted in no group */
	int under_way[UNDER_WAY_SLOTS]; /* connects without an answer so far, by when they began, modulo */
	unsigned long long late_unassigned; /* late data to a port of which nobody knows whether it is a server's */
};

#endif
