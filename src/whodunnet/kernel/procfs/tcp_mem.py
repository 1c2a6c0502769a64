"""Limits of TCP under /proc/sys/net/ipv4 (net/ipv4/sysctl_net_ipv4.c; Documentation/networking/ip-sysctl.rst).

tcp_mem and tcp_max_orphans are of the whole kernel and exist only for readers in the initial network namespace;
tcp_max_tw_buckets is of the reader's namespace.
"""

from __future__ import annotations

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes
from whodunnet.kernel.roots import Roots


class TcpMemLimits(msgspec.Struct, frozen=True, kw_only=True):
    """In pages: below low no pressure, above pressure buffers shrink, above max memory is refused."""

    low_pages: int
    pressure_pages: int
    max_pages: int


def parse_tcp_mem(data: bytes, source: str) -> TcpMemLimits:
    """Parse tcp_mem. Raises MalformedError naming source and item."""
    words = data.split()
    if len(words) != 3:
        raise MalformedError(f"{source}: {len(words)} numbers instead of low, pressure and max")
    low, pressure, most = (
        integer(word, source, item) for word, item in zip(words, ("low", "pressure", "max"), strict=True)
    )
    return TcpMemLimits(low_pages=low, pressure_pages=pressure, max_pages=most)


def parse_number(data: bytes, source: str) -> int:
    """Parse a sysctl that is one number. Raises MalformedError naming source."""
    return integer(data.strip(), source, "the value")


def read_tcp_mem(roots: Roots) -> TcpMemLimits:
    """Read tcp_mem. Raises UnreadableError, code missing-file outside the initial network namespace."""
    path = roots.proc / "sys/net/ipv4/tcp_mem"
    return parse_tcp_mem(read_bytes(path), str(path))


def read_tcp_max_orphans(roots: Roots) -> int:
    """Read the limit of orphaned sockets. Raises UnreadableError, missing-file outside the initial namespace."""
    path = roots.proc / "sys/net/ipv4/tcp_max_orphans"
    return parse_number(read_bytes(path), str(path))


def read_tcp_max_tw_buckets(roots: Roots) -> int:
    """Read the limit of TIME_WAIT sockets of the reader's network namespace. Raises UnreadableError."""
    path = roots.proc / "sys/net/ipv4/tcp_max_tw_buckets"
    return parse_number(read_bytes(path), str(path))
