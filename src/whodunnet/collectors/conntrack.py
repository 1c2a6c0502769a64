"""The table of tracked connections: how full, who has what in it, and how many entries the other namespaces have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import ClassVar, Literal, TypeVar

import msgspec

from whodunnet.collectors.collector import failure_of
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Namespaces, Visitor, Way
from whodunnet.kernel.netlink import conntrack as ctnetlink
from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.procfs.conntrack import TableSize, read_size, read_statistics, read_timeouts
from whodunnet.kernel.procfs.conntrack_entries import read_entries
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.conntrack import Conntrack, FlowGroup

T = TypeVar("T")
Method = Literal["ctnetlink", "procfs"]
NAMESPACES_LIMIT = 4096
INNER_FILL = 0.25
"""Of the limit; below it nobody asks who is behind another namespace."""
INNER_SHARE = 0.1
"""Of our entries; who has fewer opens few of ours for others."""
INNER_LIMIT = 4
INNER_ENTRIES = 250_000
"""Of all of them; with more a dump takes most of a second."""
INNER_GROUPS = 512
"""Of each: all that were translated, and its own as far as there is room."""

# What ctnetlink does with softirqs off: measured on 6.18, 2 CPUs, and rounded up.
BUCKET_SECONDS = 25e-9  # an empty bucket, with its lock
ENTRY_SECONDS = 150e-9  # an entry of another namespace in the way
STAY_SECONDS = 250e-6  # may be walked for one datagram, on average; a quarter of what any softirq should wait
DATAGRAM_ENTRIES = 38  # of 212 bytes, in ctnetlink.RECEIVE_BYTES
# The text file walks with softirqs on, but nothing else runs on that CPU meanwhile.
TEXT_BUCKET_SECONDS = 3e-9
TEXT_ENTRIES = 25  # in one read of a page
TEXT_STAY_SECONDS = 20e-3


class ConntrackCollector:
    """Reads conntrack's procfs files and one unfiltered dump, of our network namespace or in a container the host's."""

    name: ClassVar[str] = "conntrack"

    def __init__(self, roots: Roots, support: Support) -> None:
        self._roots = roots
        self._support = support

    def collect(self) -> Conntrack:
        """One reading. Raises UnreadableError if there is a table whose size cannot be read."""
        size = read_size(self._roots)
        if size is None:
            return Conntrack(loaded=False)
        found = namespaces.find(self._roots)
        counts, unread = self._counts(found)
        sample = self._read(sum(counts.values()))
        if sample.netns is not None and sample.count is not None:
            counts[sample.netns] = sample.count  # no process but this thread may be in it
        inner = self._inner(found, sample, counts)
        return msgspec.structs.replace(sample, counts=counts, netns_unread=unread, inner=inner)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _read(self, all_entries: int) -> Conntrack:
        """The namespace in question, entered if it is not ours; else what can be seen of it from here."""
        place = namespaces.elsewhere(self._roots)
        if place is None:
            return read_here(self._roots, all_entries)
        try:
            return namespaces.inside(place, None, partial(read_here, self._roots, all_entries))
        except UnreadableError as error:
            return _seen_from_outside(self._roots, error)

    def _counts(self, found: Namespaces) -> tuple[dict[int, int], int]:
        """Entries by namespace, and the number of namespaces that could not be read."""
        counts: dict[int, int] = {}
        with Visitor() as visitor:
            for inum, way in islice(found.ways.items(), NAMESPACES_LIMIT):
                count = _unless_unreadable(partial(_count, self._roots, visitor, inum, way))
                if count is not None:
                    counts[inum] = count
        return counts, len(found.ways) - len(counts) + found.unidentified

    def _inner(self, found: Namespaces, sample: Conntrack, counts: dict[int, int]) -> dict[int, tuple[FlowGroup, ...]]:
        """Entries of namespaces that may open ours for others, where our table fills up."""
        count, limit = sample.count or 0, sample.max_entries or 0
        if not sample.groups or limit <= 0 or count < INNER_FILL * limit:
            return {}
        many = [n for n in found.ways if n != sample.netns and counts.get(n, 0) >= INNER_SHARE * count]
        many.sort(key=lambda n: -counts[n])
        inner: dict[int, tuple[FlowGroup, ...]] = {}
        with Visitor() as visitor:
            for inum in _that_fit(many, counts):
                read = partial(_groups_leaving, self._roots, visitor, inum, found.ways[inum], sum(counts.values()))
                groups = _unless_unreadable(read)
                if groups is not None:
                    inner[inum] = groups
        return inner


def read_here(roots: Roots, all_entries: int) -> Conntrack:
    """The namespace the calling thread is in. all_entries: of all namespaces. Raises UnreadableError."""
    size = read_size(roots)
    if size is None:
        return Conntrack(loaded=False)
    statistics = _statistics(roots)
    statistics.pop("entries", None)
    sample = Conntrack(
        loaded=True,
        netns=namespaces.own(roots),
        count=size.count,
        max_entries=size.max_entries,
        buckets=size.buckets,
        statistics=statistics,
        timeouts=read_timeouts(roots),
    )
    if size.count == 0:
        return sample
    try:
        return _with_entries(sample, roots, way_to_read(size, max(all_entries, size.count)))
    except UnreadableError as error:
        return msgspec.structs.replace(sample, dump_failure=failure_of(error))


def way_to_read(size: TableSize, all_entries: int) -> Method:
    """How entries can be read without keeping a CPU's softirqs waiting. Raises UnreadableError if there is no way.

    ctnetlink leaves the hash table, and lets softirqs run, only when a datagram is full: with few entries of this
    namespace in many buckets, or among many of other namespaces, it walks far for that.
    """
    buckets, foreign = size.buckets or 0, all_entries - size.count
    walk = (buckets * BUCKET_SECONDS + foreign * ENTRY_SECONDS) / size.count
    if walk * DATAGRAM_ENTRIES <= STAY_SECONDS:
        return "ctnetlink"
    text_walk = (buckets * TEXT_BUCKET_SECONDS + foreign * ENTRY_SECONDS) * min(1.0, TEXT_ENTRIES / size.count)
    if text_walk <= TEXT_STAY_SECONDS:
        return "procfs"
    raise UnreadableError(
        f"{size.count} tracked connections among {foreign} of other network namespaces: to find them would keep a CPU "
        f"for {text_walk * 1000:.0f} ms"
    )


def _with_entries(sample: Conntrack, roots: Roots, method: Method) -> Conntrack:
    if method == "procfs":
        return _with_text(sample, roots)
    dump = ctnetlink.dump_flows(sample.timeouts)
    return msgspec.structs.replace(
        _with_groups(sample, dump.table),
        method="ctnetlink",
        interrupted=dump.table.interrupted,
        overruns=dump.overruns,
        dump_seconds=dump.seconds,
        longest_receive_seconds=dump.longest_receive_seconds,
    )


def _with_text(sample: Conntrack, roots: Roots) -> Conntrack:
    begin = time.perf_counter()
    entries, malformed = read_entries(roots, "thread-self")
    table = FlowTable(sample.timeouts)
    for entry in entries:
        table.add(entry)
    return msgspec.structs.replace(
        _with_groups(sample, table),
        method="procfs",
        malformed=malformed,
        dump_seconds=time.perf_counter() - begin,
    )


def _with_groups(sample: Conntrack, table: FlowTable) -> Conntrack:
    return msgspec.structs.replace(
        sample,
        groups=tuple(table.groups()),
        other_entries=table.other_entries,
        malformed=table.malformed,
    )


def _statistics(roots: Roots) -> dict[str, int]:
    """Counters by column name; nothing where neither procfs nor ctnetlink lets us."""
    for read in (partial(read_statistics, roots, "thread-self"), ctnetlink.read_statistics):
        found = _unless_unreadable(read)
        if found is not None:
            return found
    return {}


def _count(roots: Roots, visitor: Visitor, inum: int, way: Way) -> int:
    """Entries of one namespace, by its process, else from inside of it. Raises UnreadableError."""
    if way.pid is not None:
        count = _unless_unreadable(partial(_count_of, roots, way.pid, inum))
        if count is not None:
            return count
    place = way.mount or roots.proc / str(way.pid) / "ns/net"
    size = visitor.inside(place, inum, partial(read_size, roots))
    return 0 if size is None else size.count


def _that_fit(inums: Iterable[int], counts: dict[int, int]) -> list[int]:
    """The first namespaces whose entries are not too many together."""
    room = INNER_ENTRIES
    found: list[int] = []
    for inum in inums:
        if counts[inum] <= room and len(found) < INNER_LIMIT:
            room -= counts[inum]
            found.append(inum)
    return found


def _groups_leaving(
    roots: Roots, visitor: Visitor, inum: int, way: Way, all_entries: int
) -> tuple[FlowGroup, ...] | None:
    """Groups of one namespace that leave it by an address it translates to, be they its own: these cut and summed.

    None if not all that it translates is told. Raises UnreadableError.
    """
    place = way.mount or roots.proc / str(way.pid) / "ns/net"
    table = visitor.inside(place, inum, partial(read_here, roots, all_entries))
    if table.dump_failure is not None or table.other_entries or table.malformed:
        return None
    translated = [group for group in table.groups if group.source_as is not None]
    room = INNER_GROUPS - len(translated)
    if room < 0:
        return None
    left_as = {group.source_as for group in translated}
    own = [group for group in table.groups if group.source_as is None and group.source in left_as]
    own.sort(key=lambda group: -group.entries)
    return (*translated, *own[:room], *_merged(own[room:]))


def _merged(own: Sequence[FlowGroup]) -> list[FlowGroup]:
    """All but where they lead; left out they would seem to be of those whose groups are all there."""
    sums: dict[FlowGroup, list[FlowGroup]] = {}
    for group in own:
        kind = msgspec.structs.replace(
            group, destination=None, answered_by=None, zone=0, merged=True, entries=0, idle_seconds=0, ages=()
        )
        sums.setdefault(kind, []).append(group)
    return [
        msgspec.structs.replace(
            kind,
            entries=sum(group.entries for group in groups),
            idle_seconds=sum(group.idle_seconds for group in groups),
            ages=tuple(map(sum, zip(*(group.ages for group in groups if group.ages), strict=True))),
        )
        for kind, groups in sums.items()
    ]


def _count_of(roots: Roots, pid: int, inum: int) -> int | None:
    """Entries as a process sees them, None if that is another namespace by now. Raises UnreadableError."""
    count = read_statistics(roots, str(pid)).get("entries")
    return count if namespaces.of_process(roots, pid) == inum else None


def _seen_from_outside(roots: Roots, error: UnreadableError) -> Conntrack:
    """What everybody sees of the first process's namespace, and why there is no more. Raises UnreadableError."""
    statistics = dict(_unless_unreadable(partial(read_statistics, roots, "1")) or {})
    size = read_size(roots)
    return Conntrack(
        loaded=True,
        netns=_unless_unreadable(partial(namespaces.of_process, roots, 1)),
        count=statistics.pop("entries", None),
        max_entries=size.max_entries if size else None,
        buckets=size.buckets if size else None,
        statistics=statistics,
        dump_failure=failure_of(error),
    )


def _unless_unreadable(read: Callable[[], T]) -> T | None:
    """What `read` answers, None if the kernel does not let us. Raises MalformedError: that is for us to mend."""
    try:
        return read()
    except MalformedError:
        raise
    except UnreadableError:
        return None
