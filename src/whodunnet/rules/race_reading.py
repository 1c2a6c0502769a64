"""Clashes of new tracked connections within a window, and whose datagrams they may have been."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import NotChecked
from whodunnet.model.sample import Moment
from whodunnet.model.table_drops import SOLVED

NAMES_PORT = 53


class Rises(msgspec.Struct, frozen=True, kw_only=True):
    """What the counters say, within the window or since the namespace was made.

    lost: a clash that is not solved raises both "drop" and "insert_failed"; a chain that is too long the latter only,
    and before Linux 5.10 so does a clash that is solved (net/netfilter/nf_conntrack_core.c, nf_ct_resolve_clash).
    """

    lost: int
    solved: int
    failed: int


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """at: of the last reading. solves: this kernel solves a race of datagrams. names: entries of DNS, translated."""

    at: Moment
    seconds: float
    readings: int
    rises: Rises
    solves: bool
    highest: Conntrack
    names: tuple[FlowGroup, ...]
    blind: NotChecked | None

    @property
    def fill(self) -> float:
        """Highest share of the table that was in use."""
        return fill_of(self.highest)


def read(series: Sequence[tuple[Moment, Conntrack]], rule: str) -> Reading:
    """Of one network namespace; rule: for what is not checked."""
    (begin, first), (at, last) = series[0], series[-1]
    solves = SOLVED in last.statistics
    names = max((_names(c) for _, c in series), key=lambda groups: sum(g.entries for g in groups))
    failure = next((c.dump_failure for _, c in reversed(series) if c.dump_failure is not None), None)
    blind, unkept = None, max(_unkept(c) for _, c in series)
    if unkept:
        why = f"of {unkept:,} entries, which did not fit in the groups, the port was not kept"
        reason = f"packets are lost in a race, and whether DNS is tracked here is not known: {why}"
        blind = NotChecked(rule=rule, code="unreadable", reason=reason)
    if failure is not None:
        blind = NotChecked(
            rule=rule,
            code=failure.code,
            missing_capability=failure.missing_capability,
            reason=f"packets are lost in a race, and whether DNS is tracked here is not known: {failure.reason}",
        )
    return Reading(
        at=at,
        seconds=at.boot_seconds - begin.boot_seconds,
        readings=len(series),
        rises=_rises(first.statistics if len(series) > 1 else {}, last.statistics, solves),
        solves=solves,
        highest=max((c for _, c in series), key=fill_of),
        names=names,
        blind=blind,
    )


def _rises(first: dict[str, int], last: dict[str, int], solves: bool) -> Rises:
    """From the first to the last reading, of columns that both have; since the beginning where first is empty."""

    def risen(name: str) -> int:
        before = first.get(name) if first else 0
        return max(last.get(name, 0) - before, 0) if before is not None else 0

    failed = max(risen("insert_failed") - risen("chainlength"), 0)
    lost = min(failed, risen("drop"))
    return Rises(lost=lost, solved=risen(SOLVED) if solves else failed - lost, failed=failed)


def fill_of(c: Conntrack) -> float:
    """Share of the table in use; 0 where it has no limit, or none is known."""
    return (c.count or 0) / c.max_entries if c.max_entries is not None and c.max_entries > 0 else 0.0


def _names(c: Conntrack) -> tuple[FlowGroup, ...]:
    """Entries of DNS over UDP that are translated on the way (a Service)."""
    return tuple(
        g
        for g in c.groups
        if g.protocol == "udp" and g.destination is not None and g.destination.port == NAMES_PORT
        and g.answered_by is not None
    )  # fmt: skip


def _unkept(c: Conntrack) -> int:
    """Entries that may be such ones, and of which the port was not kept."""
    merged = (g for g in c.groups if g.merged and g.protocol == "udp" and g.answered_by is not None)
    return c.other_entries + sum(g.entries for g in merged if g.destination is None or g.destination.port is None)
