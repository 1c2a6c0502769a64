"""The table of connections: who connected to whom, how that ended, and what of it could not be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_pairs import Pairs, pairs_of
from whodunnet.model.connections import Connections, Ending
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.report.connection_counts import Counts, counts_of
from whodunnet.report.connection_rows import Book, ConnectionRow, ConnectionSort, ConnectionView
from whodunnet.report.connection_subject import Sides, scripts_as_one
from whodunnet.report.flow_gaps import reason_of
from whodunnet.report.flow_subject import address_gaps
from whodunnet.report.pod_names import PodNames
from whodunnet.report.quantity import count

CONNECTIONS_SCHEMA = "whodunnet/connections/v1"
WITHOUT_BPF = "who connected to whom, who closed, when, and how long connects took: that takes BPF"


class Blind(msgspec.Struct, frozen=True, kw_only=True):
    """What there is without BPF: the kernel's own counters, of all network namespaces together.

    growth: over the window, by the kernel's names; of namespaces that were read at both its ends. netns: how many.
    """

    reason: str
    missing_capability: str | None
    growth: dict[str, int]
    netns: int
    netns_unread: int


class ConnectionTable(msgspec.Struct, frozen=True, kw_only=True):
    """rows: the top ones; rest: all further ones in one row. seconds: of the window.

    failed_only: rows of which nothing failed are left out; healthy: how many rows that are, or would be. all: of every
    pair; of NAT on this node with both its sides. other: what fitted in no group, by ending. not_seen: sentences about
    what is missing. blind: without BPF, and then there is nothing else.
    """

    schema: str = CONNECTIONS_SCHEMA
    by: ConnectionView
    sort: ConnectionSort
    failed_only: bool
    seconds: float
    rows: tuple[ConnectionRow, ...] = ()
    rest: ConnectionRow | None = None
    healthy: int = 0
    all: Counts | None = None
    other: dict[Ending, int] = {}
    not_seen: tuple[str, ...] = ()
    blind: Blind | None = None

    @property
    def answers(self) -> bool:
        """Whether there is what was asked for."""
        return self.blind is None


def tabulate_connections(
    recording: Recording,
    *,
    by: ConnectionView = "endpoint",
    sort: ConnectionSort = "connections",
    failed: bool = False,
    top: int = 20,
    pods: PodNames | None = None,
) -> ConnectionTable:
    """One row per server endpoint, client or pair, the largest first; those beyond `top` are summed.

    failed: only rows of which something failed. The recording has a Connections sample.
    """
    found = pairs_of(recording)
    assert found is not None
    seconds = round(found.window.seconds, 3)
    if found.window.total.method != "bpf":
        return ConnectionTable(by=by, sort=sort, failed_only=failed, seconds=seconds, blind=_blind(recording))
    gaps = address_gaps(recording.last(Addresses))
    pairs = scripts_as_one(found.pairs, recording.snapshots[0].at.wall)
    book = Book(pairs, by, Sides(pods or PodNames(), doubtful=bool(gaps)), failed=failed)
    ranked = book.ranked(sort)
    return ConnectionTable(
        by=by,
        sort=sort,
        failed_only=failed,
        seconds=seconds,
        rows=tuple(book.row(key) for key in ranked[:top]),
        rest=book.rest(ranked[top:]),
        healthy=book.healthy,
        all=counts_of(found.pairs),
        other=found.window.total.other,
        not_seen=(*_lost(found), *_unnamed(recording, gaps, shown=bool(found.pairs))),
    )


def _blind(recording: Recording) -> Blind:
    series = [sample for _, sample in recording.series(Connections)]
    first, last = series[0], series[-1]
    both = first.counters.keys() & last.counters.keys()
    growth: Counter[str] = Counter()
    for netns in both:
        for name, value in last.counters[netns].items():
            growth[name] += max(value - first.counters[netns].get(name, value), 0)
    return Blind(
        reason=last.fallback_reason or "the program could not be loaded",
        missing_capability=last.missing_capability,
        growth=dict(growth) if len(series) > 1 else {},
        netns=len(both),
        netns_unread=last.netns_unread,
    )


def _lost(found: Pairs) -> Iterator[str]:
    """What was counted and is in no row as it should be."""
    total = found.window.total
    other = sum(total.other.values())
    if other:
        yield f"{count(other, 'beginning')} and ends in no row, for the collector's tables are bounded"
    merged = sum(g.connections for g in total.groups if g.client is None)
    if merged:
        yield f"clients of {count(merged, 'beginning')} and ends, which were merged for lack of room"
    if total.untracked:
        yield f"owner or connect time of {count(total.untracked, 'connection')}: there was no room to remember them"
    if total.missed:
        yield f"{count(total.missed, 'change')} of state, which came while the program was running on that CPU"
    if total.late_unassigned:
        yield f"whether servers or clients sent {count(total.late_unassigned, 'reset')} to late data"


def _unnamed(recording: Recording, gaps: tuple[str, ...], *, shown: bool) -> Iterator[str]:
    """Why there may be addresses where there should be names. shown: whether there is anybody to be named."""
    failure, sockets = recording.failure("sockets"), recording.last(Sockets)
    if failure is not None:
        yield f"sockets, so nobody knows who listens where nothing was accepted: {reason_of(failure)}"
    elif sockets is not None and sockets.fallback_reason:
        yield f"sockets of some namespaces, perhaps: {sockets.fallback_reason}"
    table = recording.last(Conntrack)
    failure = recording.failure("conntrack") or (table.dump_failure if table is not None else None)
    if failure is not None:
        yield f"where NAT of this node leads to: {reason_of(failure)}"
    failure = recording.failure("addresses")
    if shown and failure is not None:
        yield f"which addresses are of this node: {reason_of(failure)}"
    for gap in gaps:
        yield f"{gap}; whoever has those appears as not found here"
