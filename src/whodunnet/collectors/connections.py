"""The connections collector: how connections begin and end on the whole node, by BPF; without it, counters only.

Needs CAP_BPF with CAP_PERFMON. Nothing is seen of what happened before it was started.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from typing import ClassVar

from whodunnet.collectors.namespace_counters import read_counters
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.connection_ends import ConnectionEnds, End, EndTotal
from whodunnet.kernel.procfs.netstat import Section, read_netstat, read_snmp
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.connections import (
    ConnectionGroup,
    Connections,
    Ending,
    Span,
    connect_bounds,
    groups_in_order,
    idle_bounds,
)

PROCESS_GROUPS_LIMIT, PROCESS_SPANS_LIMIT = 1280, 4096
"""From so many on, new ones are by the name of their program only."""
GROUPS_LIMIT, SPANS_LIMIT = 2560, 6144
"""Both together: groups with client and classes of times."""
MERGED_LIMIT = 512
"""Groups without them. All together a sample is about 1 MB of JSON, and each snapshot has one."""
PROCESSES_LIMIT = 256
"""Of one name in one namespace: a script that calls curl all day leaves room for others."""
NAMESPACES_LIMIT = 4096

# include/uapi/linux/snmp.h and net/ipv4/proc.c; a kernel that lacks one simply does not report it.
TCP_COUNTERS = ("ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "OutRsts")
TCP_EXT_COUNTERS = (
    "TCPSynRetrans",
    "TCPTimeouts",
    "TCPAbortOnData",
    "TCPAbortOnClose",
    "TCPAbortOnTimeout",
    "TCPAbortOnLinger",
    "TCPAbortFailed",
    "TCPReqQFullDrop",
    "TCPReqQFullDoCookies",
    "ListenOverflows",
    "ListenDrops",
)
_TCP_COUNTERS, _TCP_EXT_COUNTERS = frozenset(TCP_COUNTERS), frozenset(TCP_EXT_COUNTERS)


class ConnectionsCollector:
    """Keeps its BPF programs attached between snapshots, and the sums since the first."""

    name: ClassVar[str] = "connections"

    def __init__(self, roots: Roots, support: Support, *, bpf: bool = True) -> None:
        """bpf: False never loads a BPF program."""
        self._roots = roots
        self._support = support
        self._ends: ConnectionEnds | None = None
        self._started_seconds = 0.0
        self._refused = None if bpf else UnreadableError("BPF was switched off with --no-bpf", code="not-collected")
        self._sums = Sums()

    def start(self) -> None:
        """Attach now, not with the first snapshot; where BPF is refused, remember why."""
        if self._ends is None and self._refused is None:
            try:
                self._ends = ConnectionEnds(self._support)
                self._started_seconds = round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
            except UnreadableError as error:
                self._refused = error

    def collect(self) -> Connections:
        """Everything since the start. Raises UnreadableError if the counters cannot be read either, or BPF fails."""
        self.start()
        return self._counted() if self._ends is None else self._seen(self._ends)

    def close(self) -> None:
        """Detaches and unloads the BPF programs."""
        if self._ends is not None:
            self._ends.close()

    def _seen(self, ends: ConnectionEnds) -> Connections:
        found = ends.read()
        self._sums.add(found.fresh)
        self._sums.add_merged(found.merged)
        return Connections(
            groups=self._sums.groups(),
            watched_seconds=round(time.monotonic() - ends.attached_at, 6),
            started_seconds=self._started_seconds,
            other=dict(self._sums.other + Counter(found.other)),
            untracked=found.untracked,
            missed=found.missed,
            late_unassigned=found.late_unassigned,
        )

    def _counted(self) -> Connections:
        """Without BPF: no group, and why. With it counters are not read: 0.2 ms for each namespace."""
        refused = self._refused
        counters, unread = read_counters(self._roots, partial(_read_both, self._roots), NAMESPACES_LIMIT)
        return Connections(
            method="counters",
            groups=(),
            watched_seconds=0.0,
            counters=counters,
            netns_unread=unread,
            fallback_reason=str(refused),
            missing_capability=refused.missing_capability if refused else None,
        )


def _read_both(roots: Roots, task: str) -> Section:
    """The counters of both files. Raises UnreadableError."""
    return read_snmp(roots, task, only=_TCP_COUNTERS) | read_netstat(roots, task, only=_TCP_EXT_COUNTERS)


class Sums:
    """Connections and seconds by end and class, since the start.

    What finds no room loses which process of that name it was, then its client and times, and is then only counted.
    Nothing that was summed moves to another group, so that the growth of each is exact.
    """

    def __init__(self) -> None:
        self._spans: dict[End, dict[int, tuple[int, float]]] = {}
        self._classes = 0
        self._processes: dict[tuple[int, str], set[tuple[int | None, float]]] = {}
        self._made: dict[End, ConnectionGroup] = {}
        self._merged: Counter[End] = Counter()
        self._merged_there: dict[End, int] = {}
        self.other: Counter[Ending] = Counter()

    def add(self, totals: Iterable[EndTotal]) -> None:
        """What came since the last time."""
        for total in totals:
            end = None if total.span_class is None else self._place(total.end, total.span_class)
            if end is None or total.span_class is None:
                self._merge(total.end, total.connections)
                continue
            spans = self._spans.setdefault(end, {})
            connections, seconds = spans.get(total.span_class, (0, 0.0))
            self._classes += total.span_class not in spans
            spans[total.span_class] = connections + total.connections, seconds + total.seconds
            self._made.pop(end, None)

    def add_merged(self, totals: Iterable[EndTotal]) -> None:
        """What the program itself has merged since its start."""
        for total in totals:
            self._merge(total.end, total.connections - self._merged_there.get(total.end, 0))
            self._merged_there[total.end] = total.connections

    def groups(self) -> tuple[ConnectionGroup, ...]:
        """All of them in an order that stays. Those that did not change are the same objects as the last time."""
        for end, spans in self._spans.items():
            if end not in self._made:
                self._made[end] = _group(end, sum(n for n, _ in spans.values()), _spans(end, spans))
        merged = (_group(end, n, ()) for end, n in self._merged.items())
        return groups_in_order((*self._made.values(), *merged))

    def _place(self, end: End, span_class: int) -> End | None:
        """Where it is summed: as what it is, else by name; None where neither has room."""
        return next((place for place in (end, _by_name(end)) if self._has_room(place, span_class)), None)

    def _has_room(self, end: End, span_class: int) -> bool:
        groups, classes = GROUPS_LIMIT, SPANS_LIMIT
        if end.owner_pid is not None:
            groups, classes = PROCESS_GROUPS_LIMIT, PROCESS_SPANS_LIMIT
        if end in self._spans:
            return span_class in self._spans[end] or self._classes < classes
        return len(self._spans) < groups and self._classes < classes and self._is_one_of_few(end)

    def _is_one_of_few(self, end: End) -> bool:
        """Whether its process may have groups of its own; from now on it has."""
        if end.owner_pid is None:
            return True
        same = self._processes.setdefault((end.netns, end.comm), set())
        process = end.owner_pid, end.process_started_seconds
        if process not in same and len(same) >= PROCESSES_LIMIT:
            return False
        same.add(process)
        return True

    def _merge(self, end: End, connections: int) -> None:
        if connections <= 0:
            return
        merged = _by_name(end)._replace(client=None)
        if merged in self._merged or len(self._merged) < MERGED_LIMIT:
            self._merged[merged] += connections
        else:
            self.other[end.ending] += connections


def _by_name(end: End) -> End:
    return end._replace(owner_pid=None, process_started_seconds=0.0)


def _spans(end: End, found: dict[int, tuple[int, float]]) -> tuple[Span, ...]:
    if end.ending == "late-data":
        return ()  # it has no time
    bounds = _connect_bounds if end.ending == "opened" else _idle_bounds
    return tuple(Span(*bounds(number), n, round(seconds, 6)) for number, (n, seconds) in sorted(found.items()))


_connect_bounds, _idle_bounds = cache(connect_bounds), cache(idle_bounds)


def _group(end: End, connections: int, spans: tuple[Span, ...]) -> ConnectionGroup:
    return ConnectionGroup(**end._asdict(), connections=connections, spans=spans)
