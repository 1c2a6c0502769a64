"""The chart of a recording, as data: who had how much when, against the kernel's own total and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

import msgspec

from whodunnet.errors import UsageError
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.text import clean
from whodunnet.report.chart_axis import growth, named_quantity, quantity
from whodunnet.report.chart_columns import Column, Columns, What, read_columns
from whodunnet.report.chart_notes import Facts, notes
from whodunnet.report.owner import By
from whodunnet.report.quantity import duration

LIMIT_NAMES = ("low", "pressure", "max")
FAR_ABOVE = 4
"""A limit beyond this many times the data would flatten what grew, so it is told instead of drawn."""
GAP_STEPS = 3
_NEIGHBOURS = 8


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One owner (or the others, or the kernel): a value for each column, None where it was not read.

    first, last: of the whole chart. grown, grown_seconds: since it appeared or the last boot; None with one reading.
    """

    label: str
    values: tuple[int | None, ...]
    first: int
    peak: int
    last: int
    grown: int | None
    grown_seconds: float

    @property
    def per_hour(self) -> float | None:
        """Growth an hour, over `grown_seconds`."""
        return None if self.grown is None else self.grown / self.grown_seconds * 3600


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One value of tcp_mem in bytes, for each column; None where unknown. last: the newest known one."""

    name: str
    values: tuple[int | None, ...]
    last: int


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """A time between two columns over which nothing is drawn; unix seconds."""

    kind: Literal["reboot", "gap"]
    start: float
    end: float


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """times: unix seconds of the columns. Runs are half-open ranges of columns that are drawn without interruption.

    series: the largest peak first, which is drawn at the bottom. limits: those that are drawn. top: what the value
    axis has to reach. headline: who grew most. notes: sentences for below the chart.
    """

    what: What
    by: By
    hostname: str
    times: tuple[float, ...]
    series: tuple[Series, ...]
    others: Series | None
    kernel: Series | None
    limits: tuple[Limit, ...]
    breaks: tuple[Break, ...]
    runs: tuple[tuple[int, int], ...]
    kernel_runs: tuple[tuple[int, int], ...]
    top: int
    headline: str
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is shown."""
        return f"{'TCP memory' if self.what == 'tcp-memory' else 'TCP sockets'} by {self.by} on {self.hostname}"

    @property
    def stack(self) -> tuple[Series, ...]:
        """All areas from the bottom up."""
        return (*self.series, *([self.others] if self.others else []))


def make_chart(readings: Iterable[tuple[Node, Snapshot]], *, what: What, by: By, top: int) -> Chart:
    """Raises UsageError if there is nothing to draw. Owners are ranked by the largest value they had in any column."""
    reader = Columns(what, by)
    columns = read_columns(readings, reader)
    if reader.node is None:
        raise UsageError("there is no snapshot in this time; --from and --to choose another")
    if all(c.owners is None and c.kernel is None for c in columns):
        raise UsageError(f"there is nothing to draw in this time: {reader.unread_reason}")
    times = _times(columns, reader)
    breaks = _breaks(columns, times)
    series, others = _series(columns, times, top)
    kernel = _one_series("the kernel's own total", [c.kernel for c in columns], columns, times)
    limits, height = _limits(columns), _height(columns)
    drawn = tuple(limit for limit in limits if limit.last <= FAR_ABOVE * height)
    cuts = {position for position, _ in breaks}
    facts = Facts(
        what=what,
        limits=[(limit.name, limit.values, limit in drawn) for limit in limits],
        times=times,
        snapshots=reader.snapshots,
        unread=reader.unread,
        unread_reason=reader.unread_reason,
        clock=reader.clock,
        found=columns[-1].found if columns[-1].owners is not None else None,
        kernel=columns[-1].kernel,
        reboots=sum(found.kind == "reboot" for _, found in breaks),
        gaps=sum(found.kind == "gap" for _, found in breaks),
    )
    return Chart(
        what=what,
        by=by,
        hostname=clean(reader.node.hostname),
        times=times,
        series=series,
        others=others,
        kernel=kernel,
        limits=drawn,
        breaks=tuple(found for _, found in breaks),
        runs=_runs([c.owners is not None for c in columns], cuts),
        kernel_runs=_runs([c.kernel is not None for c in columns], cuts),
        top=max([height, *(v for limit in drawn for v in limit.values if v and v <= FAR_ABOVE * height)]),
        headline=_headline(series, what),
        notes=tuple(notes(facts)),
    )


def _times(columns: Sequence[Column], reader: Columns) -> tuple[float, ...]:
    spans: list[tuple[float, float]] = []
    for column in columns:
        if column.boot == len(spans):
            spans.append((column.since, column.until))
        spans[-1] = (spans[-1][0], column.until)
    offsets = reader.clock.offsets(spans)
    return tuple(column.seconds + offsets[column.boot] for column in columns)


def _breaks(columns: Sequence[Column], times: Sequence[float]) -> list[tuple[int, Break]]:
    """With the position of the column after each."""
    steps = [later.since - earlier.until for earlier, later in pairwise(columns)]
    reboots = [earlier.boot != later.boot for earlier, later in pairwise(columns)]
    found: list[tuple[int, Break]] = []
    for position, (step, reboot) in enumerate(zip(steps, reboots, strict=True)):
        near = range(max(position - _NEIGHBOURS, 0), min(position + _NEIGHBOURS + 1, len(steps)))
        others = [steps[n] for n in near if n != position and not reboots[n]]
        if reboot or (others and step > GAP_STEPS * median(others)):
            kind: Literal["reboot", "gap"] = "reboot" if reboot else "gap"
            earlier, later = columns[position], columns[position + 1]
            start = times[position] + earlier.until - earlier.seconds
            end = times[position + 1] - later.seconds + later.since
            found.append((position + 1, Break(kind=kind, start=start, end=end)))
    return found


def _runs(present: Sequence[bool], cuts: set[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for position, here in enumerate(present):
        if here and runs and runs[-1][1] == position and position not in cuts:
            runs[-1] = (runs[-1][0], position + 1)
        elif here:
            runs.append((position, position + 1))
    return tuple(runs)


def _series(columns: Sequence[Column], times: Sequence[float], top: int) -> tuple[tuple[Series, ...], Series | None]:
    """The owners with the largest peaks, and all others as one."""
    peaks: dict[str, int] = {}
    for column in columns:
        for label, value in (column.owners or {}).items():
            peaks[label] = max(value, peaks.get(label, 0))
    ranked = sorted(peaks, key=lambda label: (-peaks[label], label))
    named = [
        _one_series(label, [None if c.owners is None else c.owners.get(label, 0) for c in columns], columns, times)
        for label in ranked[:top]
    ]
    rest = [None if c.owners is None else c.found - _among(c.owners, ranked[:top]) for c in columns]
    others = _one_series("others", rest, columns, times) if any(rest) else None
    return tuple(series for series in named if series), others


def _among(owners: dict[str, int], labels: Sequence[str]) -> int:
    return sum(owners.get(label, 0) for label in labels)


def _one_series(
    label: str, values: Sequence[int | None], columns: Sequence[Column], times: Sequence[float]
) -> Series | None:
    """None if it was never read."""
    known = [(position, value) for position, value in enumerate(values) if value is not None]
    if not known:
        return None
    last_position, last = known[-1]
    since = [(p, v) for p, v in known if columns[p].boot == columns[last_position].boot]
    begin, base = next(((p, v) for p, v in since if v), since[0])
    seconds = times[last_position] - times[begin]
    return Series(
        label=label,
        values=tuple(values),
        first=known[0][1],
        peak=max(value for _, value in known),
        last=last,
        grown=last - base if seconds > 0 else None,
        grown_seconds=seconds,
    )


def _limits(columns: Sequence[Column]) -> list[Limit]:
    if all(column.limits is None for column in columns):
        return []
    found = []
    for number, name in enumerate(LIMIT_NAMES):
        values = tuple(None if c.limits is None else c.limits[number] for c in columns)
        found.append(Limit(name=name, values=values, last=next(v for v in reversed(values) if v is not None)))
    return found


def _height(columns: Sequence[Column]) -> int:
    return max([1, *(max(column.found, column.kernel or 0) for column in columns)])


def _headline(series: Sequence[Series], what: What) -> str:
    grown = [(s.grown, s) for s in series if s.grown is not None]
    if not grown:
        return "Growth needs two readings since the last boot"
    most, owner = max(grown, key=lambda pair: pair[0])
    if most <= 0:
        return "No owner shown grew"
    return (
        f"Holds most of the growth: {owner.label}, by {quantity(most, what)} to {named_quantity(owner.last, what)} "
        f"in {duration(owner.grown_seconds)} ({growth(owner.per_hour, what)} an hour)"
    )
