"""TCP memory of the node against its limits, and the counters that say what running out did to each namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeVar

from whodunnet.collectors.namespace_counters import NAMESPACES_LIMIT, Reading, read_counters, unless_unreadable
from whodunnet.kernel import namespaces
from whodunnet.kernel.procfs.meminfo import read_meminfo
from whodunnet.kernel.procfs.netstat import Section, read_netstat
from whodunnet.kernel.procfs.protocols import read_protocols
from whodunnet.kernel.procfs.sockstat import Sockstat, read_sockstat, read_sockstat6
from whodunnet.kernel.procfs.tcp_mem import read_tcp_max_orphans, read_tcp_max_tw_buckets, read_tcp_mem
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.tcp_memory import TcpMemory

T = TypeVar("T")

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

    def __init__(self, roots: Roots, support: Support, shared: Callable[[], Reading | None] | None = None) -> None:
        """shared: COUNTERS by namespace as another collector has just read them, None if it has not."""
        self._roots = roots
        self._support = support
        self._shared = shared

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
            under_pressure=unless_unreadable(lambda: _pressure(roots)),
            orphans=sockstat.tcp_orphan,
            alloc_sockets=sockstat.tcp_alloc,
            inuse_sockets=sockstat.tcp_inuse,
            inuse6_sockets=unless_unreadable(lambda: read_sockstat6(roots).tcp6_inuse),
            time_wait_sockets=sockstat.tcp_tw,
            max_orphans=self._global_limit(read_tcp_max_orphans),
            max_time_wait=unless_unreadable(lambda: read_tcp_max_tw_buckets(roots)),
            memory_total_bytes=unless_unreadable(lambda: read_meminfo(roots).total_bytes),
            counters=counters,
            netns_read=len(counters),
            netns_unread=unread,
        )

    def _counters(self) -> Reading:
        found = self._shared() if self._shared else None
        if found is not None:
            return found
        return read_counters(self._roots, partial(read_netstat, self._roots, only=_COUNTERS), NAMESPACES_LIMIT)

    def _global_limit(self, read: Callable[[Roots], T]) -> T | None:
        """A limit that only the initial network namespace shows: from a child, by way of a process that lives there.

        Those are the first process, and kthreadd where a security module guards the first one.
        """
        found = unless_unreadable(partial(read, self._roots))
        for pid in ("1", "2"):
            if found is None:
                inside = partial(namespaces.inside, self._roots.proc / pid / "ns/net", None)
                found = unless_unreadable(partial(inside, partial(read, self._roots)))
        return found


def _pressure(roots: Roots) -> bool | None:
    row = read_protocols(roots).get("TCP")
    return row.pressure if row else None
