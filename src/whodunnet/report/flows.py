"""The table of tracked connections: how full, who opened what, and what could not be attributed, and why."""

from __future__ import annotations

import msgspec

from whodunnet.errors import UsageError
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.report.flow_gaps import Attribution, attribution_of
from whodunnet.report.flow_rows import Book, FlowRow, FlowSort
from whodunnet.report.flow_subject import FlowView, netns_label
from whodunnet.report.flow_sums import Reading, read_at
from whodunnet.report.pod_names import PodNames


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """The table of namespace `netns`; max_entries: 0 is without limit, None unknown.

    growth, seconds, statistics_growth: from the first reading of the window to the last; None with one reading.
    statistics: since the namespace was made, by the kernel's own names.
    """

    netns: int | None
    entries: int | None
    max_entries: int | None
    buckets: int | None
    growth: int | None
    seconds: float | None
    statistics: dict[str, int]
    statistics_growth: dict[str, int] | None


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How the entries were read, and what is not as it was in the table (see Conntrack).

    counted: entries just before; fewer were read where some expired or ended meanwhile, more where some came.
    """

    method: str | None
    seconds: float
    entries: int
    counted: int | None
    merged: int
    other: int
    malformed: int
    interrupted: int
    overruns: int
    dump_failure: Failure | None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of all other network namespaces, each of which may have as many as the table's maximum."""

    entries: int
    namespaces: int
    largest: str | None
    largest_entries: int
    unread: int


class FlowTable(msgspec.Struct, frozen=True, kw_only=True):
    """rows: the top ones; rest: all further ones in one row. loaded: if not, nothing else is in it."""

    schema: str = "whodunnet/conntrack/v1"
    by: FlowView
    sort: FlowSort
    loaded: bool = True
    fill: Fill | None = None
    how: How | None = None
    elsewhere: Elsewhere | None = None
    rows: tuple[FlowRow, ...] = ()
    rest: FlowRow | None = None
    attribution: Attribution | None = None

    @property
    def answers(self) -> bool:
        """Whether there is what was asked for: namespaces are counted even if the entries cannot be read."""
        return self.by == "netns" or self.how is None or self.how.dump_failure is None


def tabulate_flows(
    recording: Recording,
    *,
    by: FlowView = "workload",
    sort: FlowSort = "entries",
    top: int = 20,
    pods: PodNames | None = None,
) -> FlowTable:
    """One row per owner, the largest first; those beyond `top` are summed. The recording has a Conntrack sample."""
    series = recording.series(Conntrack)
    (earlier_at, earlier), (at, now) = series[0], series[-1]
    if not now.loaded:
        return FlowTable(by=by, sort=sort, loaded=False)
    comparable = len(series) > 1 and earlier.netns == now.netns and earlier.loaded
    if sort == "growth" and not comparable:
        raise UsageError("--sort growth needs two readings: give it a window longer than 0 s")
    pods = pods or PodNames()
    reading = read_at(recording, now, newest=True)
    book = Book(reading, read_at(recording, earlier, newest=False) if comparable else None, by, pods)
    ranked = book.ranked(sort)
    return FlowTable(
        by=by,
        sort=sort,
        fill=_fill(now, earlier if comparable else None, at.boot_seconds - earlier_at.boot_seconds),
        how=_how(now),
        elsewhere=_elsewhere(reading),
        rows=tuple(book.row(key) for key in ranked[:top]),
        rest=book.rest(ranked[top:]),
        attribution=attribution_of(recording, reading, pods),
    )


def _fill(now: Conntrack, earlier: Conntrack | None, seconds: float) -> Fill:
    grown = None
    if earlier is not None and now.count is not None and earlier.count is not None:
        grown = now.count - earlier.count
    return Fill(
        netns=now.netns,
        entries=now.count,
        max_entries=now.max_entries,
        buckets=now.buckets,
        growth=grown,
        seconds=None if earlier is None else round(seconds, 3),
        statistics=now.statistics,
        statistics_growth=None if earlier is None else _growth(now.statistics, earlier.statistics),
    )


def _growth(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Counters that both readings have."""
    return {name: value - before[name] for name, value in now.items() if name in before}


def _how(sample: Conntrack) -> How:
    return How(
        method=sample.method,
        seconds=sample.dump_seconds,
        entries=sample.entries_read,
        counted=sample.count,
        merged=sum(g.entries for g in sample.groups if g.merged),
        other=sample.other_entries,
        malformed=sample.malformed,
        interrupted=sample.interrupted,
        overruns=sample.overruns,
        dump_failure=sample.dump_failure,
    )


def _elsewhere(reading: Reading) -> Elsewhere:
    sample = reading.conntrack
    others = {netns: entries for netns, entries in sample.counts.items() if netns != sample.netns}
    largest = max(others, key=lambda netns: (others[netns], -netns), default=None)
    return Elsewhere(
        entries=sum(others.values()),
        namespaces=len(others),
        largest=netns_label(largest, reading.tenant(largest)) if largest is not None and others[largest] else None,
        largest_entries=others[largest] if largest is not None else 0,
        unread=sample.netns_unread,
    )
