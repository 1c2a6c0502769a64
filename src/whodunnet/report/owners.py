"""Sockets summed by owner, and what remains unexplained against the kernel's own totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from whodunnet.errors import UsageError
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads
from whodunnet.report.owner import NOT_GROUPED, By, Owner, Owners, owner_label

Sort = Literal["memory", "sockets", "growth"]
SORTS: tuple[Sort, ...] = ("memory", "sockets", "growth")


class OwnerRow(msgspec.Struct, frozen=True, kw_only=True):
    """TCP sockets, and their memory in pages of the node; growth against the earlier reading, None without one.

    others: sockets of other protocols by protocol; their memory is not TCP memory.
    """

    label: str
    owner: Owner | None
    sockets: int
    states: dict[str, int]
    pages: int
    memory_bytes: int
    unread_bytes: int
    unsent_bytes: int
    growth_pages: int | None
    growth_sockets: int | None
    others: dict[str, int]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What was found against what the kernel counts; None where the kernel's totals were not read.

    drift_pages: by how much the kernel's own page count may be wrong in either direction.
    time_wait, request_sockets: hold no TCP memory and are in neither count.
    """

    found_pages: int
    found_sockets: int
    kernel_pages: int | None
    kernel_sockets: int | None
    unexplained_pages: int | None
    unexplained_sockets: int | None
    drift_pages: int | None
    time_wait: int
    request_sockets: int
    lost: int
    not_seen: tuple[str, ...]


class OwnerTable(msgspec.Struct, frozen=True, kw_only=True):
    """rows: the top ones; rest: all further owners in one row."""

    schema: str = "whodunnet/sockets/v1"
    by: By
    sort: Sort
    page_size_bytes: int
    rows: tuple[OwnerRow, ...]
    rest: OwnerRow | None
    totals: Totals


def tabulate(
    sockets: Sockets,
    workloads: Workloads,
    tcp_memory: TcpMemory | None = None,
    earlier: Sockets | None = None,
    *,
    by: By = "container",
    sort: Sort = "memory",
    top: int = 20,
) -> OwnerTable:
    """One row per owner, the largest first; those beyond `top` are summed. Growth needs an earlier reading."""
    if sort == "growth" and earlier is None:
        raise UsageError("--sort growth needs two readings: give it a window longer than 0 s")
    book = _Book(sockets, earlier, workloads, by)
    ranked = sorted((book.row(owner_label(owner), [owner]) for owner in book.now), key=lambda row: _rank(row, sort))
    shown, hidden = ranked[:top], [row.owner for row in ranked[top:] if row.owner]
    return OwnerTable(
        by=by,
        sort=sort,
        page_size_bytes=sockets.page_size_bytes,
        rows=tuple(shown),
        rest=book.row(f"{len(hidden)} others", hidden) if hidden else None,
        totals=_totals(sockets, tcp_memory),
    )


def _rank(row: OwnerRow, sort: Sort) -> tuple[int | str, ...]:
    """Largest first, then by name."""
    match sort:
        case "sockets":
            return (-row.sockets, -row.memory_bytes, row.label)
        case "growth":
            return (-(row.growth_pages or 0), -(row.growth_sockets or 0), row.label)
        case "memory":
            return (-row.memory_bytes, -row.sockets, row.label)


@dataclass
class Sum:
    """Sockets of one owner; all but `others` is of TCP alone."""

    sockets: int = 0
    memory_bytes: int = 0
    unread_bytes: int = 0
    unsent_bytes: int = 0
    states: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    def count(self, group: SocketGroup) -> None:
        if group.protocol != "tcp":
            self.others[group.protocol] += group.sockets
            return
        self.sockets += group.sockets
        self.memory_bytes += group.memory_bytes
        self.unread_bytes += group.unread_bytes
        self.unsent_bytes += group.unsent_bytes
        self.states[group.state] += group.sockets

    def add(self, part: Sum) -> None:
        self.sockets += part.sockets
        self.memory_bytes += part.memory_bytes
        self.unread_bytes += part.unread_bytes
        self.unsent_bytes += part.unsent_bytes
        self.states += part.states
        self.others += part.others


class _Book:
    """Sums by owner, now and at the earlier reading."""

    def __init__(self, now: Sockets, earlier: Sockets | None, workloads: Workloads, by: By) -> None:
        self.now = sums(now, workloads, by)
        self.earlier = None if earlier is None else sums(earlier, workloads, by)
        for owner in self.earlier or {}:
            self.now.setdefault(owner, Sum())  # it had sockets and has none any more
        self._page = now.page_size_bytes

    def row(self, label: str, owners: Sequence[Owner]) -> OwnerRow:
        """All these owners in one row."""
        now, before = whole(self.now, owners), None if self.earlier is None else whole(self.earlier, owners)
        pages = now.memory_bytes // self._page
        return OwnerRow(
            label=label,
            owner=owners[0] if len(owners) == 1 else None,
            sockets=now.sockets,
            states=dict(now.states.most_common()),
            pages=pages,
            memory_bytes=now.memory_bytes,
            unread_bytes=now.unread_bytes,
            unsent_bytes=now.unsent_bytes,
            growth_pages=None if before is None else pages - before.memory_bytes // self._page,
            growth_sockets=None if before is None else now.sockets - before.sockets,
            others=dict(now.others.most_common()),
        )


def sums(sockets: Sockets, workloads: Workloads, by: By) -> dict[Owner, Sum]:
    """Every socket of one pass under its owner."""
    owners = Owners(sockets, workloads, by)
    found: dict[Owner, Sum] = {}
    for group in sockets.groups:
        found.setdefault(owners.of(group), Sum()).count(group)
    if sockets.other_sockets or sockets.other_memory_bytes:
        found[NOT_GROUPED] = Sum(sockets=sockets.other_sockets, memory_bytes=sockets.other_memory_bytes)
    return found


def whole(parts: Mapping[Owner, Sum], owners: Iterable[Owner]) -> Sum:
    """All these owners as one; an owner without a sum has nothing."""
    total = Sum()
    for owner in owners:
        total.add(parts.get(owner, Sum()))
    return total


def _totals(sockets: Sockets, kernel: TcpMemory | None) -> Totals:
    found_pages = sockets.tcp_memory_bytes // sockets.page_size_bytes
    return Totals(
        found_pages=found_pages,
        found_sockets=sockets.tcp_sockets,
        kernel_pages=kernel.used_pages if kernel else None,
        kernel_sockets=kernel.alloc_sockets if kernel else None,
        unexplained_pages=kernel.used_pages - found_pages if kernel else None,
        unexplained_sockets=kernel.alloc_sockets - sockets.tcp_sockets if kernel else None,
        drift_pages=kernel.drift_pages if kernel else None,
        time_wait=sockets.time_wait,
        request_sockets=sockets.request_sockets,
        lost=sockets.lost,
        not_seen=sockets.not_seen,
    )
