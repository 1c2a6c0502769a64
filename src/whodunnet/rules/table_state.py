"""How bad it is: packets are dropped for lack of room, soon will be, or neither."""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Severity
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS
from whodunnet.model.table_drops import lacking_in
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_kinds import CLOSING, DATAGRAMS, YOUNG_SECONDS, timeout_name, younger_than
from whodunnet.rules.table_window import TableReading, TableWindow

LATE_SHARE: Final = 0.25
"""Of growth that does not end, at least this share is in the second half of the window."""
READINGS_AT_ENDS: Final = 2
"""So many have no middle."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """reason: CamelCase. words: go behind "the table is". growing: it is no more than that it fills up.

    dropped: packets found no room within this window. full_in: seconds, where it grows.
    """

    severity: Severity
    reason: str
    words: str
    dropped: bool = False
    full_in: float | None = None

    @property
    def growing(self) -> bool:
        return self.full_in is not None


def state_of(window: TableWindow, entry: Entry) -> State | None:
    """None where the table is no concern. What was before the window, or in another namespace, is no sign."""
    highest, lines = window.highest, window.log_lines(within=True)
    if highest.limit is None:
        return None
    full = highest.fill >= entry.limit("full_fill")
    lacking = lacking_of(window)
    burst = bool(lines) and not window.others_full(entry.limit("full_fill"))
    dropped = lacking > 0 and (full or burst)
    refused = not window.counted and bool(lines) and highest.fill >= entry.limit("warn_fill")
    if dropped or refused:
        return State(severity="critical", reason=entry.reason, words="full, and packets are dropped", dropped=True)
    if window.last.fill >= 1:
        return State(severity="critical", reason=entry.reason, words="full")
    if highest.fill >= entry.limit("warn_fill"):
        words = f"{100 * highest.fill:.0f} % full"
        return State(severity="warning", reason="ConntrackTableNearlyFull", words=words)
    if window.risen("early_drop"):
        words = "so full that the kernel throws out entries"
        return State(severity="warning", reason="ConntrackTableNearlyFull", words=words)
    return _filling(window, entry)


def lacking_of(window: TableWindow) -> int:
    """Packets dropped within the window, less those that lost a race."""
    return lacking_in([r.table for r in window.readings])


def _filling(window: TableWindow, entry: Entry) -> State | None:
    """A table that grows so fast, and for so long, that it will be full."""
    pace, last = pace_of(window), window.last
    if pace is None or last.limit is None or last.fill < entry.limit("grow_fill"):
        return None
    full_in = (last.limit - last.count) / pace
    if full_in > entry.limit("full_within") or ceiling_of(window) < entry.limit("warn_fill") * last.limit:
        return None
    words = f"{100 * last.fill:.0f} % full, and at this pace full in {full_in:,.0f} s"
    return State(severity="warning", reason="ConntrackTableFilling", words=words, full_in=full_in)


def pace_of(window: TableWindow) -> float | None:
    """Entries a second, if it grew in both halves of the window; a burst that ends has none.

    Of the second half. Two readings have no middle: then the youngest entries tell whether it went on until the end.
    """
    first, last = window.first, window.last
    if len(window.readings) == READINGS_AT_ENDS:
        return _pace_by_ages(window)
    middle = (first.at.boot_seconds + last.at.boot_seconds) / 2
    half = min(window.readings, key=lambda r: abs(r.at.boot_seconds - middle))
    early, late = half.count - first.count, last.count - half.count
    seconds = last.at.boot_seconds - half.at.boot_seconds
    if early <= 0 or late <= 0 or seconds <= 0 or LATE_SHARE * (early + late) > late:
        return None
    return late / seconds


def _pace_by_ages(window: TableWindow) -> float | None:
    """From the first reading to the last; None where those that were opened lately are not known, or too few."""
    growth = window.last.count - window.first.count
    recent = max((bound for bound in AGE_BOUNDS_SECONDS if 2 * bound <= window.seconds), default=None)
    if growth <= 0 or recent is None:
        return None
    lately = sum(younger_than(g, recent) for g in window.last.table.groups if _ages_only(g))
    late = lately / recent * window.seconds / 2
    return growth / window.seconds if late >= LATE_SHARE * growth else None


def ceiling_of(window: TableWindow) -> float:
    """How many entries there will be if as many are opened as now: of each state its pace times its timeout.

    Entries whose state is refreshed by packets only add to what is there; without groups nobody knows, and the table
    is taken to grow on.
    """
    first, last = _with_groups(window)
    if first is None or last is None or first.at == last.at:
        return float("inf")
    seconds = last.at.boot_seconds - first.at.boot_seconds
    before, now = _by_state(first.table), _by_state(last.table)
    total = float(last.count)
    for state, groups in now.items():
        entries = sum(g.entries for g in groups)
        growth = entries - sum(g.entries for g in before.get(state, ()))
        timeout = _timeout(groups[0], last.table)
        if growth <= 0:
            continue
        if timeout is None:
            return float("inf")
        opened = sum(younger_than(g, YOUNG_SECONDS) for g in groups) / YOUNG_SECONDS
        final = opened * timeout if all(map(_ages_only, groups)) else entries + growth / seconds * timeout
        total += max(final - entries, 0.0)
    return total


def _with_groups(window: TableWindow) -> tuple[TableReading | None, TableReading | None]:
    read = [r for r in window.readings if r.table.groups]
    return (read[0], read[-1]) if read else (None, None)


def _by_state(table: Conntrack) -> dict[tuple[object, ...], list[FlowGroup]]:
    found: dict[tuple[object, ...], list[FlowGroup]] = {}
    for g in table.groups:
        found.setdefault((g.protocol, g.state, g.assured, g.replied), []).append(g)
    return found


def _ages_only(g: FlowGroup) -> bool:
    """Whether packets do not keep such an entry young, so that the young ones are the new ones."""
    return bool(g.ages) and (g.state in CLOSING or (g.protocol != "tcp" and not g.assured))


def _timeout(g: FlowGroup, table: Conntrack) -> int | None:
    """Seconds that a packet gives such an entry, None if not known."""
    others = None if g.protocol in (*DATAGRAMS, "tcp", "sctp", "dccp") else table.timeouts.get("generic_timeout")
    return table.timeouts.get(timeout_name(g), others)
