"""Builds whodunnet.kernel.bpf._libbpf: libbpf, linked dynamically, and the record layouts of bpf/*.h.

The C compiler checks what is declared here against libbpf's own headers and ours, so a layout cannot be stale.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

RECORDS = ("sockets", "connections", "stalls", "retransmissions", "files")
ROOT = Path(__file__).resolve().parent.parent

FUNCTIONS = """
struct bpf_object; struct bpf_program; struct bpf_map; struct bpf_link;
void open_log(void);
const char *read_log(void);
struct bpf_object *open_object(const char *path);
int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object, const char *name);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);
int bpf_program__fd(const struct bpf_program *program);
int bpf_map__fd(const struct bpf_map *map);
unsigned int bpf_map__key_size(const struct bpf_map *map);
unsigned int bpf_map__value_size(const struct bpf_map *map);
unsigned int bpf_map__max_entries(const struct bpf_map *map);
int bpf_map__set_max_entries(struct bpf_map *map, unsigned int max_entries);
void *share_memory(const struct bpf_map *map);
int unshare_memory(void *memory, const struct bpf_map *map);
int bpf_map_delete_elem(int fd, const void *key);
int bpf_map_update_elem(int fd, const void *key, const void *value, unsigned long long flags);
int bpf_link__destroy(struct bpf_link *link);
struct bpf_link *attach_program(const struct bpf_program *program, int *error);
struct bpf_link *attach_clock(const struct bpf_program *program, int cpu, unsigned int hertz, int *error);
struct reader;
struct reader *open_reader(const struct bpf_map *map, size_t longest, int *error);
int reader_fd(const struct reader *reader);
long long read_records(struct reader *reader, char *to, size_t room);
void close_reader(struct reader *reader);
long long count_misses(int fd);
long long per_cpu_distance(const char *from, const char *to, const char *otherwise);
int run_program(int fd);
int run_iterator(const struct bpf_program *program);
int read_map(int fd, void *keys, void *values, unsigned int key_size, unsigned int value_size, unsigned int max,
             int remove);
"""


def declarations(header: str) -> str:
    """The types and constants of a record header, as cffi reads them: no comments, no include guard."""
    text = re.sub(r"\s*/\*.*?\*/", "", header, flags=re.DOTALL)
    return "\n".join(
        line
        for line in text.splitlines()
        if not line.startswith(("#ifndef", "#endif")) and not re.fullmatch(r"#define \w+", line.strip())
    )


ffibuilder = FFI()
ffibuilder.cdef(FUNCTIONS + "".join(declarations((ROOT / f"bpf/{name}.h").read_text()) for name in RECORDS))
ffibuilder.set_source(
    "whodunnet.kernel.bpf._libbpf",
    "".join(f'#include "{name}.h"\n' for name in RECORDS) + (ROOT / "tools/libbpf_binding.c").read_text(),
    include_dirs=[str(ROOT / "bpf")],
    extra_compile_args=["-Wall", "-Werror", "-Wno-unused-function"],
    libraries=["bpf"],
)
