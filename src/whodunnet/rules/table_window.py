"""The connection tracking table over the window: how full at most, what was dropped, what the kernel wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_makers import WindowMakers, makers_of
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording, S
from whodunnet.model.sockets import Sockets
from whodunnet.model.table_drops import risen_in
from whodunnet.model.workload import Workloads

LOG_KINDS: Final = ("conntrack-table-full", "conntrack-table-full-netns")
"""Of the host's table, before Linux 6.18 of anybody's; and of another namespace, which the line names."""
_NETNS: Final = re.compile(r"table full in netns ([0-9]+)")


STALE_SECONDS: Final = 10
"""Addresses change hands within seconds where pods come and go."""


class TableReading(msgspec.Struct, frozen=True, kw_only=True):
    """One sample with the others that belong to it; addresses and workloads of then, else the nearest before or after.

    seen_local: addresses that were on this node at any time of the window. stale: its addresses were read more than
    STALE_SECONDS before or after, and somebody else may have had them.
    """

    at: Moment
    table: Conntrack
    addresses: Addresses | None
    workloads: Workloads
    seen_local: frozenset[str]
    stale: bool = False

    @property
    def count(self) -> int:
        return self.table.count or 0

    @property
    def limit(self) -> int | None:
        """The most entries that one namespace may have; None without limit."""
        limit = self.table.max_entries
        return limit if limit is not None and limit > 0 else None

    @property
    def fill(self) -> float:
        """Share of the limit that is used, 0 without limit."""
        return self.count / self.limit if self.limit is not None else 0.0


class TableWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Readings whose size is known, oldest first, with what the sockets collector saw meanwhile.

    makers: who made the connects meanwhile, where BPF met them.
    """

    node: str
    boot_id: str
    readings: tuple[TableReading, ...]
    sockets: tuple[tuple[Moment, Sockets, Workloads | None], ...]
    begin: float
    end: float
    log: KernelLog | None
    makers: WindowMakers | None = None

    @property
    def first(self) -> TableReading:
        return self.readings[0]

    @property
    def last(self) -> TableReading:
        return self.readings[-1]

    @property
    def highest(self) -> TableReading:
        """The fullest, the newest of equals."""
        return max(reversed(self.readings), key=lambda r: (r.fill, r.count))

    @property
    def seconds(self) -> float:
        return self.last.at.boot_seconds - self.first.at.boot_seconds

    def risen(self, *columns: str) -> int:
        """By how much counters of the node's namespace rose, from reading to reading of the same namespace."""
        return risen_in([r.table for r in self.readings], *columns)

    def others_full(self, share: float) -> bool:
        """Whether another namespace had so large a share of the limit in any reading."""
        return any(
            n >= share * r.limit
            for r in self.readings
            if r.limit is not None
            for netns, n in r.table.counts.items()
            if netns != r.table.netns
        )

    def sockets_at(self, moment: Moment) -> tuple[list[Sockets], list[Workloads | None]]:
        """Every reading of sockets, the one nearest to a moment last, and who had which pid then."""
        far_first = sorted(self.sockets, key=lambda s: -abs(s[0].boot_seconds - moment.boot_seconds))
        return [sockets for _, sockets, _ in far_first], [then for *_, then in far_first]

    @property
    def counted(self) -> bool:
        """Whether what was dropped within the window can be told at all."""
        return sum("drop" in r.table.statistics for r in self.readings) > 1

    def log_lines(self, *, within: bool, netns: int | None = None) -> list[LogLine]:
        """Table-full lines; without netns those that name none: the host's, before Linux 6.18 anybody's."""
        lines = self.log.lines if self.log is not None else ()
        return [
            line
            for line in lines
            if line.kind in LOG_KINDS and _netns_in(line) == netns and self._is_within(line) is within
        ]

    def named_full(self) -> frozenset[int]:
        """Other namespaces whose table was full within the window, by the word of the kernel."""
        lines = self.log.lines if self.log is not None else ()
        named = {_netns_in(line) for line in lines if line.kind in LOG_KINDS and self._is_within(line)}
        return frozenset(n for n in named if n is not None and n != self.last.table.netns)

    def others_without_room(self) -> frozenset[int]:
        """Other namespaces whose table was full: by that word, or as many as it may have in the newest reading."""
        last = self.last
        full = {n for n, entries in last.table.counts.items() if last.limit is not None and entries >= last.limit}
        return self.named_full() | (full - {last.table.netns})

    def _is_within(self, line: LogLine) -> bool:
        return line.boot_seconds is not None and self.begin <= line.boot_seconds <= self.end


def table_window(recording: Recording) -> TableWindow | None:
    """None if the size of the table was never read."""
    seen_local = frozenset(a for _, sample in recording.series(Addresses) for a in sample.namespaces())
    readings = tuple(_readings(recording, seen_local))
    if not readings:
        return None
    return TableWindow(
        node=recording.node.hostname,
        boot_id=recording.node.boot_id,
        readings=readings,
        sockets=tuple(recording.owned_sockets()),
        begin=recording.snapshots[0].at.boot_seconds,
        end=recording.snapshots[-1].at.boot_seconds,
        log=recording.last(KernelLog),
        makers=makers_of(recording),
    )


def _readings(recording: Recording, seen_local: frozenset[str]) -> Iterator[TableReading]:
    addresses_at, workloads_at = nearest(recording, Addresses), nearest(recording, Workloads)
    for at, table in recording.series(Conntrack):
        if table.loaded and table.count is not None and table.max_entries is not None:
            read_at, addresses = addresses_at(at)
            yield TableReading(
                at=at,
                table=table,
                addresses=addresses,
                workloads=workloads_at(at)[1] or Workloads(),
                seen_local=seen_local,
                stale=abs(read_at.boot_seconds - at.boot_seconds) > STALE_SECONDS,
            )


def nearest(recording: Recording, kind: type[S]) -> Callable[[Moment], tuple[Moment, S | None]]:
    """The newest sample of a kind that is not younger than a moment, else the oldest there is; with its own moment."""
    series = recording.series(kind)

    def at(moment: Moment) -> tuple[Moment, S | None]:
        before = [(when, sample) for when, sample in series if when.boot_seconds <= moment.boot_seconds]
        return before[-1] if before else series[0] if series else (moment, None)

    return at


def _netns_in(line: LogLine) -> int | None:
    found = _NETNS.search(line.text)
    return int(found[1]) if found else None
