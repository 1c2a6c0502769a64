"""The connections collector: how connections begin and end on the whole node, by BPF.

Needs CAP_BPF with CAP_PERFMON. Nothing is seen of what happened before it was started.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import ClassVar

from whodunnet.kernel.bpf.connection_ends import ConnectionEnds, End, EndTotal
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.connections import ConnectionGroup, Connections, Ending, Span, connect_bounds, idle_bounds

GROUPS_LIMIT = 16_384
SPANS_LIMIT = 65_536


class ConnectionsCollector:
    """Keeps its BPF programs attached between snapshots, and the sums since the first."""

    name: ClassVar[str] = "connections"

    def __init__(self, _: Roots, support: Support) -> None:
        """No file is read, so it needs no roots."""
        self._support = support
        self._ends: ConnectionEnds | None = None
        self._sums = Sums()

    def start(self) -> None:
        """Attach now, not with the first snapshot. Raises UnreadableError."""
        if self._ends is None:
            self._ends = ConnectionEnds(self._support)

    def collect(self) -> Connections:
        """Everything since the start. Raises UnreadableError where BPF is refused."""
        self.start()
        assert self._ends is not None
        found = self._ends.read()
        for total in found.fresh:
            self._sums.add(total)
        return Connections(
            groups=self._sums.groups(found.merged),
            watched_seconds=time.monotonic() - self._ends.attached_at,
            other=dict(self._sums.other + Counter(found.other)),
            untracked=found.untracked,
            missed=found.missed,
            late_unassigned=found.late_unassigned,
        )

    def close(self) -> None:
        """Detaches and unloads the BPF programs."""
        if self._ends is not None:
            self._ends.close()


class Sums:
    """Connections and seconds by end and class; what finds no room loses its client, then is only counted."""

    def __init__(self) -> None:
        self._spans: dict[End, dict[int, tuple[int, float]]] = {}
        self._classes = 0
        self._merged: Counter[End] = Counter()
        self.other: Counter[Ending] = Counter()

    def add(self, total: EndTotal) -> None:
        """One entry of a map, with what came since the last time."""
        if total.span_class is not None and self._has_room(total.end, total.span_class):
            spans = self._spans.setdefault(total.end, {})
            connections, seconds = spans.get(total.span_class, (0, 0.0))
            self._classes += total.span_class not in spans
            spans[total.span_class] = connections + total.connections, seconds + total.seconds
            return
        merged = total.end._replace(client=None)
        if merged in self._merged or len(self._merged) < GROUPS_LIMIT:
            self._merged[merged] += total.connections
        else:
            self.other[total.end.ending] += total.connections

    def groups(self, merged_there: list[EndTotal]) -> tuple[ConnectionGroup, ...]:
        """All of them in an order that stays; merged_there: sums of the program itself since its start."""
        merged = self._merged + Counter({total.end: total.connections for total in merged_there})
        found = [
            _group(end, sum(n for n, _ in spans.values()), _spans(end, spans)) for end, spans in self._spans.items()
        ]
        found += [_group(end, connections, ()) for end, connections in merged.items()]
        return tuple(sorted(found, key=_group_key))

    def _has_room(self, end: End, span_class: int) -> bool:
        if end in self._spans:
            return span_class in self._spans[end] or self._classes < SPANS_LIMIT
        return len(self._spans) < GROUPS_LIMIT and self._classes < SPANS_LIMIT


def _spans(end: End, found: dict[int, tuple[int, float]]) -> tuple[Span, ...]:
    if end.ending == "late-data":
        return ()  # it has no time
    bounds = connect_bounds if end.ending == "opened" else idle_bounds
    return tuple(Span(*bounds(number), *found[number]) for number in sorted(found))


def _group(end: End, connections: int, spans: tuple[Span, ...]) -> ConnectionGroup:
    return ConnectionGroup(**end._asdict(), connections=connections, spans=spans)


def _group_key(g: ConnectionGroup) -> tuple[object, ...]:
    return (
        g.netns, g.server.address or "", g.server.port or 0, g.client or "", g.role, g.owner_pid or 0, g.comm,
        g.process_started_seconds, g.ending, g.state, g.last_word,
    )  # fmt: skip
