"""Packets that were dropped for want of room in the connection tracking table, by its counters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from whodunnet.model.conntrack import Conntrack

CHAINS: Final = ("chainlength", "chaintoolong")
"""Columns of packets dropped because their bucket had too many entries: in procfs, and over netlink."""
SOLVED: Final = "clashres"
"""Column of kernels that solve a race for an entry without loss (nf_ct_resolve_clash_harder, since Linux 5.10); the
older "searched" is not."""


def risen_in(tables: Iterable[Conntrack], *columns: str) -> int:
    """By how much counters rose, from reading to reading of the same namespace."""
    every = list(tables)
    return sum(_risen(every, column) for column in columns)


def _risen(tables: Sequence[Conntrack], column: str) -> int:
    counted = [t for t in tables if column in t.statistics]
    return sum(max(b.statistics[column] - a.statistics[column], 0) for a, b in pairwise(counted) if a.netns == b.netns)


def lacking_in(tables: Sequence[Conntrack]) -> int:
    """Packets dropped from the first reading to the last, less those that lost a race."""
    return risen_in(tables, "drop") - _lost_races(tables)


def _lost_races(tables: Sequence[Conntrack]) -> int:
    """Packets that raised "drop" although there was room: those that lost a race for their entry.

    They raise both columns, in any table; too long a chain only "insert_failed", and before Linux 5.10 so does a race
    that was solved: there nothing is known to be lost, and drops of a full table are not to be hidden by it.
    """
    if not any(SOLVED in t.statistics for t in tables):
        return 0
    return max(risen_in(tables, "insert_failed") - risen_in(tables, *CHAINS), 0)
