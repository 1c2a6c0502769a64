"""The kernel's table of neighbours is full, or nearly: who is new in a network of this node is not reached."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.neighbour_findings import NAMES, RULE, compose, fill, fulls
from whodunnet.rules.neighbour_window import Table, tables


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for the table of each family that is full or nearly."""
    every = tables(recording)
    if not every:
        return [NotChecked(rule=RULE, code="missing-file", reason="no table of neighbours was read")]
    bad = [table for table in every if _is_full(table, entry) or _is_near(table, entry)]
    if bad:
        return [compose(table, recording, entry, full=_is_full(table, entry)) for table in bad]
    return [_nothing(every, entry)]


def _is_full(table: Table, entry: Entry) -> bool:
    """New entries found no room within the window, or the log says so."""
    return (table.fulls or 0) >= entry.limit("min_overflows") or table.lines > 0


def _is_near(table: Table, entry: Entry) -> bool:
    return table.share is not None and table.share >= entry.limit("near_share")


def _nothing(every: Sequence[Table], entry: Entry) -> Cleared | NotChecked:
    ever = sum(table.now.table_fulls or 0 for table in every)
    if every[0].readings < 2 and ever:
        reason = f"one reading cannot show a rise (a table was full {ever:,} times since the machine started)"
        return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")
    if all(table.share is None and table.now.table_fulls is None for table in every):
        reason = "this kernel does not count how often a table of neighbours is full, and shows no limit"
        return NotChecked(rule=RULE, code="unsupported", reason=reason)
    seconds = every[0].seconds
    known = [NAMES[table.family][1] for table in every if table.share is not None]
    reach = f"{100 * entry.limit('near_share'):g} % of the limit now, in all network namespaces together"
    reach += f" ({' and '.join(known)})" if known else " (not read)"
    if every[0].readings > 1:
        reach += f"; any new neighbour for whom there was no room within {seconds:.1f} s"
    evidence: list[Evidence] = []
    for table in every:
        evidence.append(fill(table))
        evidence += [fulls(table)] if table.fulls is not None else []
    return Cleared(rule=RULE, sensitivity=reach, evidence=tuple(evidence))
