"""/proc/<task>/net/sockstat and sockstat6: sockets and their memory (net/ipv4/proc.c, net/ipv6/proc.c; proc(5))."""

from __future__ import annotations

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots


class Sockstat(msgspec.Struct, frozen=True, kw_only=True):
    """The socket counts of one network namespace, and of the whole kernel where a field says "global".

    tcp_inuse: IPv4 sockets in a hash table, without TIME_WAIT. tcp_orphan: without a file (global).
    tcp_tw: in TIME_WAIT. tcp_alloc: every TCP socket, IPv4 and IPv6 (global).
    tcp_mem_pages: TCP memory in pages of 4096 bytes before kernel 6.0, of PAGE_SIZE from then on (global).
    """

    sockets_used: int
    tcp_inuse: int
    tcp_orphan: int
    tcp_tw: int
    tcp_alloc: int
    tcp_mem_pages: int


class Sockstat6(msgspec.Struct, frozen=True, kw_only=True):
    """tcp6_inuse: IPv6 TCP sockets in a hash table of one network namespace, without TIME_WAIT."""

    tcp6_inuse: int


def parse_sockstat(data: bytes, source: str) -> Sockstat:
    """Parse sockstat. Raises MalformedError naming source and item."""
    fields = _fields(data, source)
    return Sockstat(
        sockets_used=_number(fields, b"sockets used", source),
        tcp_inuse=_number(fields, b"TCP inuse", source),
        tcp_orphan=_number(fields, b"TCP orphan", source),
        tcp_tw=_number(fields, b"TCP tw", source),
        tcp_alloc=_number(fields, b"TCP alloc", source),
        tcp_mem_pages=_number(fields, b"TCP mem", source),
    )


def parse_sockstat6(data: bytes, source: str) -> Sockstat6:
    """Parse sockstat6. Raises MalformedError naming source and item."""
    return Sockstat6(tcp6_inuse=_number(_fields(data, source), b"TCP6 inuse", source))


def read_sockstat(roots: Roots, task: str = "self") -> Sockstat:
    """Read sockstat of the network namespace of `task` (a pid, "self", "thread-self"). Raises UnreadableError."""
    path = roots.proc / task / "net/sockstat"
    return parse_sockstat(read_bytes(path), str(path))


def read_sockstat6(roots: Roots, task: str = "self") -> Sockstat6:
    """Read sockstat6, which is missing where IPv6 is. Raises UnreadableError."""
    path = roots.proc / task / "net/sockstat6"
    return parse_sockstat6(read_bytes(path), str(path))


def _fields(data: bytes, source: str) -> dict[bytes, bytes]:
    """Every value by "line name" + " " + "field name"."""
    fields: dict[bytes, bytes] = {}
    for line in filter(None, data.split(b"\n")):
        name, colon, rest = line.partition(b":")
        words = rest.split()
        if not colon or len(words) % 2:
            raise MalformedError(f"{source}: a line should be a name and pairs, and is {shown(line)}")
        fields.update((name + b" " + key, value) for key, value in zip(words[::2], words[1::2], strict=True))
    return fields


def _number(fields: dict[bytes, bytes], name: bytes, source: str) -> int:
    if name not in fields:
        raise MalformedError(f"{source}: {name.decode()} is missing")
    return integer(fields[name], source, name.decode())
