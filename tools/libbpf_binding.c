/* SPDX-License-Identifier: Apache-2.0 */
/* The C side of whodunnet.kernel.bpf._libbpf: what would take many calls from Python is one here. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
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

static struct bpf_object *open_object(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	return libbpf_get_error(object) ? NULL : object;
}

/* The one value of a data section, shared with the programs; NULL if the kernel refuses. */
static void *share_memory(const struct bpf_map *map)
{
	void *memory = mmap(NULL, bpf_map__value_size(map), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int unshare_memory(void *memory, const struct bpf_map *map)
{
	return munmap(memory, bpf_map__value_size(map));
}

/* Attaches a program to what its section names; NULL with a negative errno. */
static struct bpf_link *attach_program(const struct bpf_program *program, int *error)
{
	struct bpf_link *link = bpf_program__attach(program);
	*error = libbpf_get_error(link);
	return *error ? NULL : link;
}

/* How often a program was not run because it ran on that CPU already; a negative errno. */
static long long count_misses(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int error = bpf_obj_get_info_by_fd(fd, &info, &size);
	return error ? error : (long long)info.recursion_misses;
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
