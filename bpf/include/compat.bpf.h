/* SPDX-License-Identifier: GPL-2.0-only */
/* Every difference between kernels that our programs must know, each with the commit that made it. */
#ifndef WHODUNNET_COMPAT_BPF_H
#define WHODUNNET_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Before "fs: port files to file_ref" (6.13) a file counted its references in f_count, from one instead of zero. */
struct file___before_file_ref {
	atomic_long_t f_count;
} __attribute__((preserve_access_index));

static __always_inline long file_references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return BPF_CORE_READ((struct file___before_file_ref *)file, f_count.counter);
}

/*
 * "tcp: allocate tcp_death_row outside of struct netns_ipv4" made it a pointer; "tcp: Don't allocate tcp_death_row
 * outside of struct netns_ipv4" (6.1) took that back.
 */
struct netns_ipv4___pointer {
	struct inet_timewait_death_row *tcp_death_row;
} __attribute__((preserve_access_index));

struct net___pointer {
	struct netns_ipv4___pointer ipv4;
} __attribute__((preserve_access_index));

static __always_inline struct inet_hashinfo *net_hashinfo(struct net *net)
{
	if (bpf_core_field_size(net->ipv4.tcp_death_row) > sizeof(void *))
		return BPF_CORE_READ(net, ipv4.tcp_death_row.hashinfo);
	return BPF_CORE_READ((struct net___pointer *)net, ipv4.tcp_death_row, hashinfo);
}

#endif
