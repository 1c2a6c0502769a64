"""The sample of the tcp_memory collector: the node's TCP memory against its limits."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Cpus, PageSize, Signed, UnsignedLong


class TcpMemory(msgspec.Struct, frozen=True, tag="tcp_memory", kw_only=True):
    """tcp_mem, sockstat, sockstat6, protocols and the memory counters of TcpExt.

    Scope (net/ipv4/proc.c): tcp_mem, used_pages, orphans, alloc_sockets, under_pressure and max_orphans are of the
    whole kernel; inuse_sockets, inuse6_sockets, time_wait_sockets and max_time_wait are of the one network namespace
    that was read; counters are kept per namespace. None: the kernel did not say (tcp_mem is not in a child netns).
    """

    page_size_bytes: PageSize
    cpus: Cpus
    low_pages: UnsignedLong | None = None
    pressure_pages: UnsignedLong | None = None
    max_pages: UnsignedLong | None = None
    used_pages: Signed
    under_pressure: bool | None = None
    orphans: Count
    alloc_sockets: Count
    inuse_sockets: Count
    inuse6_sockets: Count | None = None
    time_wait_sockets: Signed
    max_orphans: Signed | None = None
    max_time_wait: Signed | None = None
    memory_total_bytes: Count | None = None
    counters: dict[
        Count, dict[str, Count]
    ] = {}  # netns inode number -> TcpExt counter -> value since the netns was made
    netns_read: Count = 0
    netns_unread: Count = 0  # known, but their counters could not be read

    @property
    def drift_pages(self) -> int:
        """Largest error of used_pages: 256 pages each CPU keeps in reserve (kernel 6.0 on, SK_MEMORY_PCPU_RESERVE)."""
        return 256 * self.cpus
