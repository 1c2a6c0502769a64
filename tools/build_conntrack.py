"""Builds whodunnet.kernel.netlink._conntrack: the decoder of connection tracking dumps, in plain C.

The C compiler checks what is declared here against tools/conntrack_groups.h, so a layout cannot be stale.
"""

from __future__ import annotations

from pathlib import Path

from build_libbpf import declarations
from cffi import FFI

TOOLS = Path(__file__).resolve().parent

FUNCTIONS = """
struct flow_table *open_flows(unsigned long long seed);
void close_flows(struct flow_table *table);
void add_flow(struct flow_table *table, const struct flow *flow, long long remaining);
enum flow_end add_datagram(struct flow_table *table, const void *data, size_t size);
"""

ffibuilder = FFI()
ffibuilder.cdef(declarations((TOOLS / "conntrack_groups.h").read_text()) + FUNCTIONS)
ffibuilder.set_source(
    "whodunnet.kernel.netlink._conntrack",
    '#include "conntrack_groups.c"\n',
    include_dirs=[str(TOOLS)],
    extra_compile_args=["-Wall", "-Werror", "-Wno-unused-function", "-O2"],
)
