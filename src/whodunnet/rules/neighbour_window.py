"""The tables of neighbours over a recording: what they counted meanwhile, how full they are, and who fills them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from whodunnet.model.connections import Connections
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.neighbours import DeviceNeighbours, Family, Neighbours, NeighbourTable
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workload, Workloads, owner_key

LOGGED: Final = {4: "neighbour-table-full", 6: "neighbour-table-full-ipv6"}
"""Our names of the kernel's line that a table overflowed."""
UNANSWERED: Final = frozenset({"given-up", "timed-out", "broken"})
"""Endings of connects that nobody answered."""
ABOUT: Final = 0.95
"""A table that is full keeps changing by some entries."""
Series = Sequence[tuple[Moment, Neighbours]]


class Crowd(NamedTuple):
    """One network namespace with its entries. unanswered: of them; asked: some of these addresses.

    device: the one with most of them.
    """

    netns: int
    device: str
    entries: int
    unanswered: int
    asked: tuple[str, ...]


class Asker(NamedTuple):
    """An owner, and how many of the addresses that were kept it has tried in vain."""

    pid: int
    workload: Workload | None
    addresses: int


class Table(NamedTuple):
    """One family's table in the newest reading, and what it counted between the first and the newest.

    exempt: entries that do not count against its limit, as far as they were seen. crowds: most first, of the newest
    reading of those with most entries; empty where entries were not read. of: all entries then that count, read or
    not. lines: of the kernel's log in the window.
    """

    family: Family
    at: Moment
    seconds: float
    readings: int
    now: NeighbourTable
    fulls: int | None
    forced: int | None
    discards: int | None
    lines: int
    exempt: int
    crowds: tuple[Crowd, ...]
    of: int

    @property
    def used(self) -> int:
        """Entries that count against the limit."""
        return max(self.now.entries - self.exempt, 0)

    @property
    def share(self) -> float | None:
        """Of its limit; None where that is not known."""
        return self.used / self.now.max_entries if self.now.max_entries else None

    @property
    def largest(self) -> Crowd | None:
        """The namespace that has more than half of all entries, those of namespaces that were not read among them."""
        return self.crowds[0] if self.crowds and 2 * self.crowds[0].entries > self.of else None


def tables(recording: Recording) -> list[Table]:
    """Those that could be read."""
    series = recording.series(Neighbours)
    found = []
    for family in (4, 6):
        table = _table(recording, series, family) if family == 4 else _table(recording, series, 6)
        found += [table] if table is not None else []
    return found


def _table(recording: Recording, series: Series, family: Family) -> Table | None:
    at, newest = series[-1]
    now = newest.table(family)
    if now is None:
        return None
    best = _fullest(series, family)
    places = [place for place in best.places if place.family == family] if best is not None else []
    mine = [place for place in newest.places if place.family == family]
    read = sum(place.counted for place in places)
    held = _entries(best, family) - sum(place.exempt for place in places) if best is not None else 0
    return Table(
        family=family, at=at, seconds=at.boot_seconds - series[0][0].boot_seconds, readings=len(series), now=now,
        fulls=_rise(series, family, lambda t: t.table_fulls), forced=_rise(series, family, lambda t: t.forced_gcs),
        discards=_rise(series, family, lambda t: t.unresolved_discards), lines=_lines(recording, series[0][0], family),
        exempt=sum(place.exempt for place in mine), crowds=_crowds(places),
        of=max(read, held),
    )  # fmt: skip


def _fullest(series: Series, family: Family) -> Neighbours | None:
    """Of several that are about as full the newest: who asked for its entries did so within the window."""
    read_then = [sample for _, sample in series if family in sample.places_of]
    most = max((_entries(sample, family) for sample in read_then), default=0)
    return next((sample for sample in reversed(read_then) if _entries(sample, family) >= ABOUT * most), None)


def _entries(sample: Neighbours, family: Family) -> int:
    table = sample.table(family)
    return table.entries if table is not None else 0


def _rise(series: Series, family: Family, read: Callable[[NeighbourTable], int | None]) -> int | None:
    """None from one reading, and where this kernel does not count it."""
    found = [t for _, sample in series if (t := sample.table(family)) is not None]
    values = [value for t in found if (value := read(t)) is not None]
    return sum(max(then - before, 0) for before, then in pairwise(values)) if len(values) > 1 else None


def _lines(recording: Recording, begin: Moment, family: Family) -> int:
    log = recording.last(KernelLog)
    lines = log.lines if log is not None else ()
    since = begin.boot_seconds
    return sum(
        line.kind == LOGGED[family] and line.boot_seconds is not None and line.boot_seconds >= since for line in lines
    )


def _crowds(places: Sequence[DeviceNeighbours]) -> tuple[Crowd, ...]:
    by_netns: dict[int, list[DeviceNeighbours]] = {}
    for place in places:
        by_netns.setdefault(place.netns, []).append(place)
    found = [
        Crowd(
            netns=netns,
            device=max(here, key=lambda place: place.counted).device,
            entries=sum(place.counted for place in here),
            unanswered=sum(place.unanswered for place in here),
            asked=tuple(address for place in here for address in place.asked),
        )
        for netns, here in by_netns.items()
    ]
    return tuple(sorted((crowd for crowd in found if crowd.entries), key=lambda crowd: (-crowd.entries, crowd.netns)))


def askers(recording: Recording, crowd: Crowd) -> list[Asker]:
    """Who tries addresses of a namespace that answer nobody, those with most of them first.

    By its sockets that are connecting, and connects that ended so; of addresses that have such an entry and were kept.
    """
    wanted, asked = set(crowd.asked), dict[int, set[str]]()
    for _, sample in recording.series(Sockets) if wanted else ():
        for g in sample.groups:
            if g.netns == crowd.netns and g.state == "syn-sent" and g.owner_pid is not None and g.endpoint is not None:
                asked.setdefault(g.owner_pid, set()).update(wanted & {g.endpoint.address or ""})
    for _, ends in recording.series(Connections) if wanted else ():
        for e in ends.groups:
            if e.netns == crowd.netns and e.ending in UNANSWERED and e.state == "syn-sent" and e.owner_pid is not None:
                asked.setdefault(e.owner_pid, set()).update(wanted & {e.server.address or ""})
    return _by_owner(asked, recording.last(Workloads) or Workloads())


def _by_owner(asked: dict[int, set[str]], workloads: Workloads) -> list[Asker]:
    by_owner: dict[str, list[int]] = {}
    for pid, found in asked.items():
        if found:
            by_owner.setdefault(owner_key(pid, workloads.by_pid.get(pid)), []).append(pid)
    every = []
    for pids in by_owner.values():
        first = max(pids, key=lambda pid: (len(asked[pid]), -pid))
        addresses = set[str]().union(*(asked[pid] for pid in pids))
        every.append(Asker(first, workloads.by_pid.get(first), len(addresses)))
    return sorted(every, key=lambda asker: (-asker.addresses, asker.pid))
