"""How connections began and ended within a window: what cumulative samples grew by, in parts of about equal time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Connections, Span
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording

PARTS = 3
LEAST_PART = 0.1
"""Of the window: in a shorter part what lasts may well not show."""


class Step(NamedTuple):
    """The growth from one sample to the next. until: when that was read, on the boot clock; seconds: its length."""

    until: float
    seconds: float
    growth: Connections


class ConnectionWindow(msgspec.Struct, frozen=True, kw_only=True):
    """at: the newest sample. total: by how much all grew; its watched_seconds are those of the window.

    seconds: from the first sample to the newest. parts: the growth in PARTS parts of about equal time, oldest first, or
    in fewer where steps between samples are few or of very different length; for what has to last. outer: where they
    are fewer, the growth in the first step, in all between, and in the last one: what is seen in each of these has
    lasted for as long as those between; empty where that is less than LEAST_PART of the window. steps: from sample to
    sample, oldest first.
    """

    at: Moment
    seconds: float
    total: Connections
    parts: tuple[Connections, ...]
    outer: tuple[Connections, ...] = ()
    steps: tuple[Step, ...] = ()

    def until(self, boot_seconds: float) -> tuple[Connections, ...]:
        """The growth of each step that was over by then."""
        return tuple(step.growth for step in self.steps if step.until <= boot_seconds)


def connection_window(recording: Recording) -> ConnectionWindow | None:
    """None where connections were not read. One sample alone has grown by nothing."""
    series = recording.series(Connections)
    if not series:
        return None
    steps = [_step(before, after) for before, after in pairwise(series)]
    last, parts = series[-1][1], _in_parts(steps)
    outer = _outer(steps) if len(parts) < PARTS else []
    return ConnectionWindow(
        at=series[-1][0],
        seconds=series[-1][0].boot_seconds - series[0][0].boot_seconds,
        total=_sum([step.growth for step in steps], last),
        parts=tuple(_sum(part, last) for part in parts),
        outer=tuple(_sum(part, last) for part in outer),
        steps=tuple(steps),
    )


def _step(before: tuple[Moment, Connections], after: tuple[Moment, Connections]) -> Step:
    (begin, old), (end, new) = before, after
    elapsed, growth = end.boot_seconds - begin.boot_seconds, _growth(old, new)
    # Nobody watched before a collector was started anew: a recording that was stopped, and goes on.
    return Step(end.boot_seconds, min(elapsed, new.watched_seconds) if _is_anew(old, new) else elapsed, growth)


def _in_parts(steps: Sequence[Step]) -> list[list[Connections]]:
    """Steps in PARTS parts of about equal time: none without a step, none so short that it shows nothing."""
    parts: list[list[Connections]] = []
    left = sum(step.seconds for step in steps)
    least, share, filled = left * LEAST_PART, 0.0, 0.0
    for _, seconds, growth in steps:
        if not parts or (len(parts) < PARTS and filled + seconds / 2 > share and filled >= least and left >= least):
            share, filled = left / (PARTS - len(parts)), 0.0
            parts.append([])
        parts[-1].append(growth)
        filled, left = filled + seconds, left - seconds
    return parts


def _outer(steps: Sequence[Step]) -> list[list[Connections]]:
    """The first step, those between, and the last; none where those between are too short to show what lasts."""
    growths, between = [step.growth for step in steps], sum(step.seconds for step in steps[1:-1])
    if len(steps) < PARTS or between < LEAST_PART * sum(step.seconds for step in steps):
        return []
    return [growths[:1], growths[1:-1], growths[-1:]]


def _growth(before: Connections, after: Connections) -> Connections:
    """What came in between; a collector that was started anew in between had nothing before."""
    if _is_anew(before, after):
        return after
    known = {identity(g): g for g in before.groups}
    grown = [_grown(known.get(identity(g)), g) for g in after.groups]
    return replace(
        after,
        groups=tuple(g for g in grown if g.connections),
        watched_seconds=after.watched_seconds - before.watched_seconds,
        other={ending: max(n - before.other.get(ending, 0), 0) for ending, n in after.other.items()},
        untracked=max(after.untracked - before.untracked, 0),
        missed=max(after.missed - before.missed, 0),
        late_unassigned=max(after.late_unassigned - before.late_unassigned, 0),
    )


def _is_anew(before: Connections, after: Connections) -> bool:
    return after.started_seconds != before.started_seconds or after.watched_seconds < before.watched_seconds


def identity(group: ConnectionGroup) -> ConnectionGroup:
    """What stays of a group from sample to sample: everything but its numbers."""
    return replace(group, connections=0, spans=())


def _grown(before: ConnectionGroup | None, after: ConnectionGroup) -> ConnectionGroup:
    if before is None:
        return after
    known = {(s.since, s.until): s for s in before.spans}
    spans = (_span_grown(known.get((s.since, s.until)), s) for s in after.spans)
    return replace(
        after,
        connections=max(after.connections - before.connections, 0),
        spans=tuple(s for s in spans if s.connections),
    )


def _span_grown(before: Span | None, after: Span) -> Span:
    if before is None:
        return after
    return replace(
        after,
        connections=max(after.connections - before.connections, 0),
        seconds=max(after.seconds - before.seconds, 0.0),
    )


def _sum(growths: list[Connections], last: Connections) -> Connections:
    """All growth as one."""
    other: dict[str, int] = {}
    for growth in growths:
        for ending, n in growth.other.items():
            other[ending] = other.get(ending, 0) + n
    return replace(
        last,
        groups=sum_groups(g for growth in growths for g in growth.groups),
        watched_seconds=sum(growth.watched_seconds for growth in growths),
        other={ending: n for ending, n in other.items() if n},
        untracked=sum(growth.untracked for growth in growths),
        missed=sum(growth.missed for growth in growths),
        late_unassigned=sum(growth.late_unassigned for growth in growths),
    )


def sum_groups(groups: Iterable[ConnectionGroup]) -> tuple[ConnectionGroup, ...]:
    """Equal groups as one, in the order they came."""
    found: dict[ConnectionGroup, list[ConnectionGroup]] = {}
    for g in groups:
        found.setdefault(identity(g), []).append(g)
    return tuple(
        replace(one, connections=sum(g.connections for g in same), spans=sum_spans(s for g in same for s in g.spans))
        for one, same in found.items()
    )


def sum_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Equal classes as one, shortest times first."""
    found: dict[tuple[float, float | None], list[Span]] = {}
    for span in spans:
        found.setdefault((span.since, span.until), []).append(span)
    summed = (
        Span(since, until, sum(s.connections for s in same), sum(s.seconds for s in same))
        for (since, until), same in found.items()
    )
    return tuple(sorted(summed, key=lambda s: s.since))
