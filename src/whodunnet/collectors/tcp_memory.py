"""TCP memory of the node against its limits, and the counters that say what running out did to each namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import ClassVar, TypeVar

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.procfs.meminfo import read_meminfo
from whodunnet.kernel.procfs.netstat import Section, read_netstat
from whodunnet.kernel.procfs.protocols import read_protocols
from whodunnet.kernel.procfs.sockstat import Sockstat, read_sockstat, read_sockstat6
from whodunnet.kernel.procfs.tcp_mem import read_tcp_max_orphans, read_tcp_max_tw_buckets, read_tcp_mem
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.tcp_memory import TcpMemory

T = TypeVar("T")
NAMESPACES_LIMIT = 4096

# TcpExt, include/uapi/linux/snmp.h and net/ipv4/proc.c; a kernel that lacks one simply does not report it.
COUNTERS = (
    "TCPMemoryPressures",
    "TCPMemoryPressuresChrono",
    "TCPAbortOnMemory",
    "PruneCalled",
    "RcvPruned",
    "OfoPruned",
    "TCPRcvCollapsed",
    "TCPRcvQDrop",
    "TCPZeroWindowDrop",
    "TCPOFODrop",
    "TCPBacklogDrop",
    "TCPWqueueTooBig",
    "TCPTimeWaitOverflow",
    "TCPAbortOnClose",
    "ListenOverflows",
    "ListenDrops",
)
_COUNTERS = frozenset(COUNTERS)


class TcpMemoryCollector:
    """Reads sockstat, tcp_mem, protocols, meminfo, and netstat of every reachable network namespace."""

    name: ClassVar[str] = "tcp_memory"

    def __init__(self, roots: Roots, support: Support) -> None:
        self._roots = roots
        self._support = support

    def collect(self) -> TcpMemory:
        """One reading. Raises UnreadableError if sockstat or the list of processes cannot be read."""
        sockstat = read_sockstat(self._roots)
        counters, unread = self._counters()
        return self._sample(sockstat, counters, unread)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _sample(self, sockstat: Sockstat, counters: dict[int, Section], unread: int) -> TcpMemory:
        roots = self._roots
        limits = self._global_limit(read_tcp_mem)
        return TcpMemory(
            page_size_bytes=self._support.page_size_bytes,
            cpus=self._support.possible_cpus,
            low_pages=limits.low_pages if limits else None,
            pressure_pages=limits.pressure_pages if limits else None,
            max_pages=limits.max_pages if limits else None,
            used_pages=sockstat.tcp_mem_pages,
            under_pressure=_unless_unreadable(lambda: _pressure(roots)),
            orphans=sockstat.tcp_orphan,
            alloc_sockets=sockstat.tcp_alloc,
            inuse_sockets=sockstat.tcp_inuse,
            inuse6_sockets=_unless_unreadable(lambda: read_sockstat6(roots).tcp6_inuse),
            time_wait_sockets=sockstat.tcp_tw,
            max_orphans=self._global_limit(read_tcp_max_orphans),
            max_time_wait=_unless_unreadable(lambda: read_tcp_max_tw_buckets(roots)),
            memory_total_bytes=_unless_unreadable(lambda: read_meminfo(roots).total_bytes),
            counters=counters,
            netns_read=len(counters),
            netns_unread=unread,
        )

    def _counters(self) -> tuple[dict[int, Section], int]:
        """Counters by namespace, and the number of namespaces that could not be read."""
        found = namespaces.find(self._roots)
        counters: dict[int, Section] = {}
        with Visitor() as visitor:
            for inum, way in islice(found.ways.items(), NAMESPACES_LIMIT):
                section = _unless_unreadable(partial(_netstat, self._roots, visitor, inum, way))
                if section is not None:
                    counters[inum] = section
        return counters, len(found.ways) - len(counters) + found.unidentified

    def _global_limit(self, read: Callable[[Roots], T]) -> T | None:
        """A limit that only the initial network namespace shows: from a child, by way of a process that lives there.

        Those are the first process, and kthreadd where a security module guards the first one.
        """
        found = _unless_unreadable(partial(read, self._roots))
        for pid in ("1", "2"):
            if found is None:
                inside = partial(namespaces.inside, self._roots.proc / pid / "ns/net", None)
                found = _unless_unreadable(partial(inside, partial(read, self._roots)))
        return found


def _netstat(roots: Roots, visitor: Visitor, inum: int, way: Way) -> Section:
    """TcpExt of one namespace, by its process, else by its mount. Raises UnreadableError."""
    section = None if way.pid is None else _unless_unreadable(partial(_netstat_of, roots, way.pid, inum))
    if section is not None:
        return section
    if way.mount is None:
        raise UnreadableError(f"no process is in network namespace {inum} any more", code="vanished")
    return visitor.inside(way.mount, inum, partial(read_netstat, roots, "thread-self", only=_COUNTERS))


def _netstat_of(roots: Roots, pid: int, inum: int) -> Section | None:
    """TcpExt as a process sees it, None if that is another namespace by now. Raises UnreadableError."""
    section = read_netstat(roots, str(pid), only=_COUNTERS)
    # Whether it moved on since the scan can be known for sure only afterwards.
    return section if namespaces.of_process(roots, pid) == inum else None


def _pressure(roots: Roots) -> bool | None:
    row = read_protocols(roots).get("TCP")
    return row.pressure if row else None


def _unless_unreadable(read: Callable[[], T]) -> T | None:
    """What `read` answers, None if the kernel does not let us. Raises MalformedError: that is for us to mend."""
    try:
        return read()
    except MalformedError:
        raise
    except UnreadableError:
        return None
