// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP sockets that the kernel made and gave up again within socket(), as it had no file for them (fs.file-max): who asked.
 * Runs when a TCP socket ends, and is attached only while the node is near that limit. No tracepoint tells of other files.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "compat.bpf.h"
#include "files.h"
#include "pid_numbers.bpf.h"

#if defined(__TARGET_ARCH_arm64)
#define NR_SOCKET 198 /* include/uapi/asm-generic/unistd.h */
#else
#define NR_SOCKET 41 /* arch/x86/entry/syscalls/syscall_64.tbl */
#endif

char LICENSE[] SEC("license") = "GPL";

/* Preallocated, for a tracepoint may fire where memory cannot be had. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct refused_key);
	__type(value, struct refused_process);
} refused SEC(".maps");

struct refusal_watch watch SEC(".data.watch") = {};

/*
 * Whether the descriptor that was given out last has no file so far. sock_map_fd() (net/socket.c) reserves one before it asks
 * for the file: so it is no limit of the process that was met, nor did anybody forbid the socket. Where another thread
 * opens or closes something at this moment, it may not be seen: then the refusal is not counted.
 */
static __always_inline bool awaits_file(struct task_struct *task)
{
	struct files_struct *files = BPF_CORE_READ(task, files);
	struct fdtable *table = BPF_CORE_READ(files, fdt);
	__u32 next = BPF_CORE_READ(files, next_fd);
	struct file **place, *file = NULL;

	if (!table || !next || next > BPF_CORE_READ(table, max_fds))
		return false;
	place = BPF_CORE_READ(table, fd) + (next - 1);
	return !bpf_probe_read_kernel(&file, sizeof(file), place) && !file;
}

static __always_inline void count(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct refused_process fresh = {}, *process = NULL;
	struct refused_key key = {};

	key.started_ns = BPF_CORE_READ(leader, start_boottime);
	key.pid = number_of(leader, task->tgid, watch.pid_level, watch.pid_namespace);
	if (key.pid) {
		BPF_CORE_READ_INTO(&fresh.comm, leader, comm);
		bpf_map_update_elem(&refused, &key, &fresh, BPF_NOEXIST);
		process = bpf_map_lookup_elem(&refused, &key);
	}
	__sync_fetch_and_add(process ? &process->times : &watch.left_out, 1);
}

/* One that has neither a port nor a peer: the task may have been interrupted by the end of somebody else's. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(end_unused, const struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (sk->__sk_common.skc_num || sk->__sk_common.skc_dport || system_call(task) != NR_SOCKET)
		return 0;
	if (awaits_file(task))
		count(task);
	return 0;
}

/* Our place among pid namespaces, and whether we would see anything. */
SEC("raw_tp")
int find_place(void *ctx)
{
	find_namespace(watch.pid_level_above, &watch.pid_level, &watch.pid_namespace);
	watch.sees_calls = system_call(bpf_get_current_task_btf()) >= 0;
	return 0;
}
