"""The neighbours collector: how full the kernel's tables of neighbours are; if half or more, whose entries it are."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import ClassVar, Final, NamedTuple, TypeVar

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.collectors.visits import visit_all
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.netlink.neighbours import UNANSWERED, Counted, NeighbourSocket
from whodunnet.kernel.procfs.neighbours import NeighbourStatistics, read_statistics, read_thresholds
from whodunnet.kernel.roots import Roots
from whodunnet.model.neighbours import DeviceNeighbours, Family, Neighbours, NeighbourTable

T = TypeVar("T")
HALF: Final = 0.5
"""Share of gc_thresh3 from which on the entries themselves are read."""
FEW: Final = 0.05
"""Share of gc_thresh3 by which a table may change before its entries are read again."""
ENTRIES_LIMIT: Final = 65_536
"""Entries of one family and namespace that are read, at about 1.5 µs each."""
PLACES_LIMIT: Final = 256
ASKED_LIMIT: Final = 64
"""Addresses without an answer that are kept of one device."""
ASKED_FROM: Final = 32
"""How many there have to be."""
_FAMILIES: Final[tuple[tuple[Family, int], ...]] = ((4, socket.AF_INET), (6, socket.AF_INET6))
_UNASKED: Final = frozenset({"noarp", "none"})
_TASKS: Final = ("1", "2", "thread-self")
"""Whose view of /proc/net is that of the first namespace: kthreadd where a security module guards the first process."""


class Reading(NamedTuple):
    """Entries as they were last read, and of which tables."""

    families: tuple[Family, ...]
    tables: Mapping[Family, NeighbourTable]
    places: list[DeviceNeighbours]
    unread: int
    left_out: int


class NeighboursCollector:
    """Reads arp_cache and ndisc_cache, and dumps the entries of namespaces only where it matters."""

    name: ClassVar[str] = "neighbours"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._fulls: dict[Family, int] = {}
        self._read = Reading((), {}, [], 0, 0)

    def collect(self) -> Neighbours:
        """One reading. Raises UnreadableError if neither table is shown."""
        tables = {family: table for family, _ in _FAMILIES if (table := self._table(family)) is not None}
        if not tables:
            text = "the tables of neighbours are shown in the first network namespace only"
            raise UnreadableError(text, code="missing-file")
        wanted = tuple(family for family, table in tables.items() if self._matters(family, table))
        if wanted and not self._still(wanted, tables):
            self._read = Reading(wanted, tables, *self._places(wanted))
        self._fulls = {family: table.table_fulls or 0 for family, table in tables.items()}
        places, unread, left_out = self._read[2:] if wanted else ([], 0, 0)
        return Neighbours(
            ipv4=tables.get(4), ipv6=tables.get(6), places=tuple(places[:PLACES_LIMIT]), places_of=wanted,
            netns_unread=unread, left_out=left_out + sum(place.counted for place in places[PLACES_LIMIT:]),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _matters(self, family: Family, table: NeighbourTable) -> bool:
        half = table.max_entries is not None and table.entries >= HALF * table.max_entries
        return half or (table.table_fulls or 0) > self._fulls.get(family, table.table_fulls or 0)

    def _still(self, wanted: tuple[Family, ...], tables: Mapping[Family, NeighbourTable]) -> bool:
        """Whether the entries are those of the reading before, but for a few."""
        if self._read.families != wanted:
            return False
        pairs = [(self._read.tables[family], tables[family]) for family in wanted]
        few = all(abs(then.entries - old.entries) <= FEW * (then.max_entries or 0) for old, then in pairs)
        return few and all(then.table_fulls == old.table_fulls for old, then in pairs)

    def _table(self, family: Family) -> NeighbourTable | None:
        """None where the kernel does not show it."""
        statistics = self._first(partial(read_statistics, self._roots, family))
        if statistics is None:
            return None
        thresholds = self._thresholds(family) or (None, None, None)
        return _table(statistics, thresholds)

    def _first(self, read: Callable[[str], T]) -> T | None:
        """What the first task answers that can."""
        return next((found for task in _TASKS if (found := unless_unreadable(partial(read, task))) is not None), None)

    def _thresholds(self, family: Family) -> tuple[int, int, int] | None:
        """Settings are those of the namespace that reads them: elsewhere it is entered."""
        read = partial(read_thresholds, self._roots, family)
        found = unless_unreadable(read)
        for pid in ("1", "2") if found is None else ():
            inside = partial(namespaces.inside, self._roots.proc / pid / "ns/net", None, read)
            found = unless_unreadable(inside) if found is None else found
        return found

    def _places(self, families: tuple[Family, ...]) -> tuple[list[DeviceNeighbours], int, int]:
        """By namespace and device, those with most first; namespaces unread; entries left out."""
        found, unread = visit_all(self._roots, partial(_read_here, families))
        places = [place for netns, read in found.items() for place in _of_devices(netns, read)]
        places.sort(key=lambda place: (-place.counted, place.netns, place.device))
        return places, unread, sum(counted.cut for read in found.values() for counted, _ in read.values())


Entries = dict[Family, tuple[Counted, Mapping[int, str]]]
"""By family: entries by device and state, and the names of the devices."""


def _read_here(families: tuple[Family, ...]) -> Entries:
    """Entries of the namespace that the calling thread is in. Raises UnreadableError."""
    found: Entries = {}
    for family, number in _FAMILIES:
        if family in families:
            with NeighbourSocket() as netlink:  # one each: that of a dump which was not read to its end takes no other
                counted = netlink.count(number, ENTRIES_LIMIT)
            found[family] = (counted, dict(socket.if_nameindex()) if counted.entries else {})
    return found


def _of_devices(netns: int, read: Entries) -> Iterator[DeviceNeighbours]:
    for family, (every, names) in read.items():
        for device in sorted({entry.device for entry in every.entries}):
            here = {entry: n for entry, n in every.entries.items() if entry.device == device}
            counted = {entry: n for entry, n in here.items() if not entry.exempt}
            unanswered = sum(n for entry, n in counted.items() if entry.state in UNANSWERED)
            unasked = sum(n for entry, n in counted.items() if entry.state in _UNASKED)
            yield DeviceNeighbours(
                netns=netns, device=names.get(device, f"if{device}"), family=family, unanswered=unanswered,
                unasked=unasked, answered=sum(counted.values()) - unanswered - unasked,
                exempt=sum(here.values()) - sum(counted.values()), asked=_some(every.asked.get(device, [])),
            )  # fmt: skip


def _some(addresses: list[bytes]) -> tuple[str, ...]:
    """At most so many, from all over the list; of a few nothing can be told."""
    if len(addresses) < ASKED_FROM:
        return ()
    chosen = addresses[:: -(-len(addresses) // ASKED_LIMIT)]
    return tuple(socket.inet_ntop(socket.AF_INET if len(a) == 4 else socket.AF_INET6, a) for a in chosen)


def _table(
    statistics: NeighbourStatistics, thresholds: tuple[int, int, int] | tuple[None, None, None]
) -> NeighbourTable:
    counters = statistics.counters
    return NeighbourTable(
        entries=statistics.entries, min_entries=thresholds[0], soft_max=thresholds[1], max_entries=thresholds[2],
        table_fulls=counters.get("table_fulls"), forced_gcs=counters.get("forced_gc_runs"),
        unresolved_discards=counters.get("unresolved_discards"), res_failed=counters.get("res_failed"),
    )  # fmt: skip
