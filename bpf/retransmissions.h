/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The records that retransmissions.bpf.c hands to user space. This header owns their layout: the BPF program includes it,
 * and the Python extension is compiled from it.
 */
#ifndef WHODUNNET_RETRANSMISSIONS_H
#define WHODUNNET_RETRANSMISSIONS_H

enum repeat_kind {
	REPEAT_FAST, /* the receiver told of a gap */
	REPEAT_TIMEOUT, /* nothing told of it: the timer ran out, or what it found lost is sent again */
	REPEAT_PROBE, /* the last segments, before the timer runs out (tail loss probe) */
	REPEAT_CLOSED, /* beyond the window, which the receiver has closed or made smaller meanwhile: it has no room */
	REPEAT_KINDS,
};

/* Where to: connections to one server, or from one client to a server here. */
struct destination_key {
	unsigned int netns; /* inode number */
	unsigned char remote[16]; /* IPv4 in the first four bytes */
	unsigned short port; /* of the server, host order */
	unsigned char family; /* 4 or 6 */
	unsigned char accepted; /* 1: the server is here, `remote` is its client */
};

struct destination {
	unsigned long long repeated[REPEAT_KINDS]; /* segments */
	unsigned long long full; /* of all but CLOSED: those of the largest size that the connection sends */
	unsigned long long sent; /* segments with data, repeated ones included */
	unsigned long long duplicates; /* segments that the receiver said it had twice (DSACK) */
	unsigned long long first_ns; /* boot clock */
	unsigned long long last_ns;
	unsigned int sockets; /* that repeated anything */
	/* Repeats of what was sent three times already, each after a longer time-out than the one before. */
	unsigned int again_full;
	unsigned int again_small;
	unsigned int again_heard; /* of both: data came from the peer since the first repeat */
	unsigned int
		again_refused; /* of both: acknowledgements came since then, and no data: it got them and has no room */
	unsigned int again_sacked; /* of again_full: the peer has something that was sent later */
	unsigned int stuck; /* sockets with again_full; one that got through may come again */
	unsigned int passed; /* a full-size segment that had been repeated was acknowledged as such */
	unsigned int mss; /* of the largest full-size repeat */
	unsigned int path_mtu; /* as the kernel believed it at the newest repeat */
	unsigned int device_mtu;
	char device[16];
};

/* Who has the connections, as far as they are open at a reading. */
struct repeat_owner_key {
	struct destination_key to;
	unsigned int pid; /* in our pid namespace */
};

struct repeat_owner {
	unsigned long long repeated; /* segments, as in `destination`, without CLOSED */
	unsigned long long again_full;
};

/* A socket, from when it was first met. */
struct repeater {
	unsigned int sent; /* how much of its data_segs_out is in its destination's sum, or was sent before we came */
	unsigned int repeated; /* total_retrans, likewise */
	unsigned int duplicates; /* dsack_dups, likewise */
	unsigned int unowned; /* segments repeated that are in no owner's sum so far */
	unsigned int unowned_again; /* of these, again_full */
	unsigned int una; /* first byte that was not acknowledged when it last repeated */
	unsigned int mss; /* if that was of full size; else 0 */
	unsigned char met; /* it has repeated something */
	unsigned char stuck; /* the same full-size segment has been repeated again and again */
	unsigned char padding[2];
};

/* User space sets the upper part. */
struct repeat_watch {
	unsigned int hz; /* ticks a second */
	unsigned int pid_level_above; /* how far the pid namespace of our procfs is above ours */

	unsigned int pid_level; /* depth of the pid namespace of our procfs */
	unsigned int pid_namespace; /* its inode */
	unsigned int destinations; /* how many there are */
	unsigned long long untracked; /* sockets that found no room */
	unsigned long long other; /* segments repeated that fitted in no destination */
	unsigned long long inside; /* segments repeated within one namespace, which are in no destination */
	unsigned long long
		elsewhere; /* segments with data, sent to other namespaces and machines where nothing was repeated */
};

#endif
