/* SPDX-License-Identifier: Apache-2.0 */
/* The C side of whodunnet.kernel.bpf._libbpf: what would take many calls from Python is one here. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The last messages of libbpf: why a program did not load. */
static char log_text[8192];
static size_t log_used;

static int keep_log(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN || log_used >= sizeof(log_text) - 1)
		return 0;
	int written = vsnprintf(log_text + log_used, sizeof(log_text) - log_used, format, arguments);
	if (written > 0)
		log_used += written;
	return 0;
}

static void open_log(void)
{
	log_used = 0;
	log_text[0] = 0;
	libbpf_set_print(keep_log);
}
static const char *read_log(void)
{
	return log_text;
}

/* Types are looked up in the kernel alone: libbpf would go on to those of every module, which CAP_BPF does not allow
 * (BPF_BTF_GET_NEXT_ID in kernel/bpf/syscall.c wants CAP_SYS_ADMIN). */
static struct bpf_object *open_object(const char *path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = "/sys/kernel/btf/vmlinux");
	struct bpf_object *object = bpf_object__open_file(path, &options);
	return libbpf_get_error(object) ? NULL : object;
}

/* The values of a data section or of an array that may be mapped: each begins at a multiple of 8 bytes. */
static size_t memory_size(const struct bpf_map *map)
{
	return (size_t)(bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
}

/* Shared with the programs; NULL if the kernel refuses. */
static void *share_memory(const struct bpf_map *map)
{
	void *memory = mmap(NULL, memory_size(map), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int unshare_memory(void *memory, const struct bpf_map *map)
{
	return munmap(memory, memory_size(map));
}

/* Attaches a program to what its section names; NULL with a negative errno. */
static struct bpf_link *attach_program(const struct bpf_program *program, int *error)
{
	struct bpf_link *link = bpf_program__attach(program);
	*error = libbpf_get_error(link);
	return *error ? NULL : link;
}

/* Runs a program by the clock of one CPU, so often a second; NULL with a negative errno. */
static struct bpf_link *attach_clock(const struct bpf_program *program, int cpu, unsigned int hertz, int *error)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_freq = hertz,
		.freq = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link;

	if (fd < 0) {
		*error = -errno;
		return NULL;
	}
	link = bpf_program__attach_perf_event(program, fd);
	*error = libbpf_get_error(link);
	if (*error) {
		close(fd);
		return NULL;
	}
	return link;
}

/* Takes records out of a ring buffer, each after its length, in multiples of 8 bytes. */
struct reader {
	struct ring_buffer *ring;
	char *to;
	size_t used, room, longest;
};

static int take_record(void *context, void *data, size_t size)
{
	struct reader *reader = context;
	size_t padded = (size + 7) / 8 * 8;
	unsigned long long length = size;

	if (sizeof(length) + padded > reader->room - reader->used)
		return -E2BIG;
	memcpy(reader->to + reader->used, &length, sizeof(length));
	memcpy(reader->to + reader->used + sizeof(length), data, size);
	reader->used += sizeof(length) + padded;
	/* The ring forgets what it has shown to us: stop while another one fits. */
	return reader->room - reader->used < sizeof(length) + reader->longest ? -ENOSPC : 0;
}

/* longest: of any record, a multiple of 8. NULL with a negative errno. */
static struct reader *open_reader(const struct bpf_map *map, size_t longest, int *error)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	if (!reader) {
		*error = -ENOMEM;
		return NULL;
	}
	reader->longest = longest;
	reader->ring = ring_buffer__new(bpf_map__fd(map), take_record, reader, NULL);
	*error = libbpf_get_error(reader->ring);
	if (*error) {
		free(reader);
		return NULL;
	}
	return reader;
}

/* Becomes readable when there are records (epoll(7)). */
static int reader_fd(const struct reader *reader)
{
	return ring_buffer__epoll_fd(reader->ring);
}

/* How many bytes were filled, a negative errno; the rest comes the next time. */
static long long read_records(struct reader *reader, char *to, size_t room)
{
	int error;

	reader->to = to;
	reader->room = room;
	reader->used = 0;
	if (room < sizeof(unsigned long long) + reader->longest)
		return -EINVAL;
	error = ring_buffer__consume(reader->ring);
	return error < 0 && error != -ENOSPC ? error : (long long)reader->used;
}

static void close_reader(struct reader *reader)
{
	ring_buffer__free(reader->ring);
	free(reader);
}

/* How often a program was not run because it ran on that CPU already; a negative errno. */
static long long count_misses(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int error = bpf_obj_get_info_by_fd(fd, &info, &size);
	return error ? error : (long long)info.recursion_misses;
}

/* Where the variables of each CPU are, of which the kernel has one set for each (BTF_KIND_DATASEC); -1: there is none. */
static long long per_cpu_place(const struct btf *btf, const char *name)
{
	const char *const section = ".data..percpu";
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	int variable = btf__find_by_name_kind(btf, name, BTF_KIND_VAR);
	const struct btf_type *all = id < 0 || variable < 0 ? NULL : btf__type_by_id(btf, id);

	for (int n = 0; all && n < btf_vlen(all); n++)
		if (btf_var_secinfos(all)[n].type == (__u32)variable)
			return btf_var_secinfos(all)[n].offset;
	return -1;
}

/* From one variable of a CPU to the first of the others that this kernel has; 0: there is none. */
static long long per_cpu_distance(const char *from, const char *to, const char *otherwise)
{
	struct btf *btf = btf__load_vmlinux_btf();
	long long begin, end;

	if (libbpf_get_error(btf))
		return 0;
	begin = per_cpu_place(btf, from);
	end = per_cpu_place(btf, to);
	if (end < 0)
		end = per_cpu_place(btf, otherwise);
	btf__free(btf);
	return begin < 0 || end < 0 ? 0 : end - begin;
}

/* Runs a program once, where it stands; its own result or a negative errno. */
static int run_program(int fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, options);
	int error = bpf_prog_test_run_opts(fd, &options);
	return error ? error : (int)options.retval;
}

/* Runs an iterator to its end; it hands over nothing but what it left in maps. */
static int run_iterator(const struct bpf_program *program)
{
	char nothing[64];
	struct bpf_link *link = bpf_program__attach_iter(program, NULL);
	int error = libbpf_get_error(link), fd;
	ssize_t got;

	if (error)
		return error;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0) {
		error = -errno;
	} else {
		do {
			got = read(fd, nothing, sizeof(nothing));
		} while (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));
		error = got < 0 ? -errno : 0;
		close(fd);
	}
	bpf_link__destroy(link);
	return error;
}

/* All entries of a map, at most max, removed from it if asked, in batches. Their number. */
static int read_map(int fd, void *keys, void *values, unsigned int key_size, unsigned int value_size, unsigned int max,
		    int remove)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	unsigned int done = 0, count;
	char cursor[256], *in = NULL;
	int error = 0;

	while (done < max) {
		char *to_keys = (char *)keys + (size_t)done * key_size;
		char *to_values = (char *)values + (size_t)done * value_size;

		count = max - done;
		error = remove ? bpf_map_lookup_and_delete_batch(fd, in, cursor, to_keys, to_values, &count, &options)
			       : bpf_map_lookup_batch(fd, in, cursor, to_keys, to_values, &count, &options);
		if (error && error != -ENOENT)
			return error;
		done += count;
		if (error == -ENOENT)
			break;
		in = cursor;
	}
	return done;
}
