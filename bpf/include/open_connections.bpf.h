/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is remembered of each open connection, found by its socket: a table in sets, for which a hash map of the kernel
 * costs too much (insert, find and delete: half of all that is done for a connection), and so does the storage of sockets
 * (BPF_MAP_TYPE_SK_STORAGE), which is allocated for each. With 65,536 open connections one in a thousand finds its set
 * full.
 *
 * Each has a first place in its set, and takes the next where that is another's: nearly all are where they are looked for
 * first, so the loops end at once.
 *
 * The programs hold the socket's lock, so nobody else looks for the same one meanwhile; a free place may be taken by
 * many at once. Only the iterators hold no lock.
 */
#ifndef WHODUNNET_OPEN_CONNECTIONS_BPF_H
#define WHODUNNET_OPEN_CONNECTIONS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "address_of.bpf.h"
#include "connections.h"

#define SET_BITS 13
#define SET_SIZE 16
#define PLACES (SET_SIZE << SET_BITS)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");

static __always_inline struct connection *place(__u64 address, __u32 step)
{
	__u32 first = address * 0x9e3779b97f4a7c15 >> 40 & (PLACES - 1);
	__u32 number = (first & ~(SET_SIZE - 1)) | ((first + step) & (SET_SIZE - 1));

	return bpf_map_lookup_elem(&connections, &number);
}

static __noinline struct connection *find(__u64 address)
{
	struct connection *known;
	__u32 step;

#pragma nounroll
	for (step = 0; step < SET_SIZE; step++) {
		known = place(address, step);
		if (known && known->socket == address)
			return known;
	}
	return NULL;
}

/*
 * A place for a connection that begins; what is in it is another's. It may be one that was left at this address, and is
 * found before any other such. NULL if its set is full.
 */
static __noinline struct connection *claim(__u64 address)
{
	struct connection *known;
	__u32 step;

#pragma nounroll
	for (step = 0; step < SET_SIZE; step++) {
		known = place(address, step);
		if (known && (known->socket == address ||
			      (!known->socket && !__sync_val_compare_and_swap(&known->socket, 0, address))))
			return known;
	}
	return NULL;
}

/* By an atomic operation, which no write to the record is later than. */
static __always_inline void release(struct connection *known, __u64 address)
{
	__sync_val_compare_and_swap(&known->socket, address, 0);
}

#endif
