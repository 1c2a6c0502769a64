/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows the launcher in its file: a tar of files and directories, compressed with zstd, and a trailer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include "launcher.h"

#define MAGIC "WHODUNN1"
#define BLOCK 512

/* The last bytes of the file; bundle_file.py writes them. */
struct trailer {
	uint64_t packed, unpacked, entries; /* bytes, bytes, files and directories */
	char magic[8];
};

static struct trailer trailer;
static struct {
	int fd;
	off_t start;
	uint64_t left; /* packed bytes not read yet */
	ZSTD_DStream *stream;
	ZSTD_inBuffer in;
	char packed[1 << 17];
	bool damaged, ended;
} payload;

/* NULL, or why it cannot be used. */
const char *open_payload(const char *self)
{
	off_t end;

	payload.fd = open(self, O_RDONLY | O_CLOEXEC);
	payload.stream = ZSTD_createDStream();
	if (payload.fd < 0 || !payload.stream)
		return strerror(errno);
	end = lseek(payload.fd, 0, SEEK_END) - (off_t)sizeof(trailer);
	if (end < 0 || pread(payload.fd, &trailer, sizeof(trailer), end) != sizeof(trailer) ||
	    memcmp(trailer.magic, MAGIC, sizeof(trailer.magic)) || trailer.packed > (uint64_t)end)
		return "it is incomplete";
	payload.start = end - trailer.packed;
	return NULL;
}

/* Each entry may waste most of a page. */
uint64_t room_needed(void)
{
	return trailer.unpacked + trailer.entries * sysconf(_SC_PAGESIZE);
}

bool is_damaged(void)
{
	return payload.damaged;
}

/* Reads exactly `size` unpacked bytes; false: damaged. */
static bool unpack_bytes(void *to, size_t size)
{
	ZSTD_outBuffer out = {to, size, 0};

	while (out.pos < out.size) {
		if (payload.in.pos == payload.in.size && payload.left) {
			size_t want = payload.left < sizeof(payload.packed) ? payload.left : sizeof(payload.packed);
			ssize_t got = read(payload.fd, payload.packed, want);

			if (got <= 0)
				break;
			payload.left -= got;
			payload.in = (ZSTD_inBuffer){payload.packed, got, 0};
		}
		size_t before = out.pos, taken = payload.in.pos;
		size_t result = ZSTD_decompressStream(payload.stream, &out, &payload.in);

		payload.ended = result == 0; /* and the checksum of the frame was right */
		if (payload.ended || ZSTD_isError(result) ||
		    (out.pos == before && payload.in.pos == taken && !payload.left))
			break;
	}
	payload.damaged = out.pos < out.size;
	return !payload.damaged;
}

/* Relative and without "..", which bundle_file.py never writes. */
static bool is_inside(const char *name)
{
	const char *part = name;

	while (*part && *part != '/' && strcmp(part, "..") && strncmp(part, "../", 3)) {
		part = strchr(part, '/');
		if (!part || !part[1])
			return true;
		part++;
	}
	return false;
}

static bool write_all(int fd, const char *content, size_t size)
{
	while (size) {
		ssize_t wrote = write(fd, content, size);

		if (wrote < 0)
			return false;
		content += wrote;
		size -= wrote;
	}
	return true;
}

static bool write_file(int directory, const char *name, mode_t mode, uint64_t size)
{
	static char content[1 << 16];
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode), number;
	bool written = fd >= 0;

	for (uint64_t left = size, length; written && left; left -= length) {
		uint64_t padded = (left + BLOCK - 1) / BLOCK * BLOCK, room = sizeof(content);

		length = left < room ? left : room;
		written = unpack_bytes(content, padded < room ? padded : room) && write_all(fd, content, length);
	}
	number = errno;
	if (fd >= 0)
		written = close(fd) == 0 && written;
	errno = written ? errno : number;
	return written;
}

/* One entry of the tar; false with errno, or with payload.damaged. */
static bool unpack_entry(int directory, const char *header)
{
	char name[257], *end;
	uint64_t size = strtoull(header + 124, &end, 8);
	mode_t mode = strtoul(header + 100, NULL, 8) & 0700;

	snprintf(name, sizeof(name), "%.155s%s%.100s", header + 345, header[345] ? "/" : "", header);
	payload.damaged = memcmp(header + 257, "ustar", 5) || !is_inside(name) || end != header + 135;
	if (payload.damaged)
		return false;
	if (header[156] == '5')
		return mkdirat(directory, name, 0700) == 0;
	payload.damaged = header[156] != '0';
	return !payload.damaged && write_file(directory, name, mode, size);
}

static bool unpack_entries(int directory)
{
	static const char nothing[BLOCK];
	char block[BLOCK];

	for (;;) {
		if (!unpack_bytes(block, BLOCK))
			return false;
		if (!memcmp(block, nothing, BLOCK))
			break;
		if (!unpack_entry(directory, block))
			return false;
	}
	while (!payload.ended && unpack_bytes(block, BLOCK))
		; /* what pads a tar, up to the checksum */
	payload.damaged = !payload.ended || payload.left || payload.in.pos < payload.in.size;
	return !payload.damaged;
}

/* False with errno, or with is_damaged(). */
bool unpack(int directory)
{
	mode_t mask = umask(077);
	bool unpacked;

	lseek(payload.fd, payload.start, SEEK_SET);
	payload.left = trailer.packed;
	payload.in = (ZSTD_inBuffer){payload.packed, 0, 0};
	ZSTD_DCtx_reset(payload.stream, ZSTD_reset_session_only);
	unpacked = unpack_entries(directory);
	umask(mask);
	return unpacked;
}
