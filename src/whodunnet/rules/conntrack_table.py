"""Is the connection tracking table full, will it be, and whose entries fill it?"""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Finding, NotApplicable, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.table_drops import CHAINS
from whodunnet.rules import table_evidence
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.table_findings import RULE, of_chains, of_namespaces, of_table, of_unknown_namespace
from whodunnet.rules.table_state import READINGS_AT_ENDS, lacking_of, state_of
from whodunnet.rules.table_window import TableWindow, table_window


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """The node's own table, its chains, and the tables of other namespaces; cleared with the highest fill."""
    tables = [table for _, table in recording.series(Conntrack)]
    if not any(table.loaded for table in tables):
        return [NotApplicable(rule=RULE, reason="connection tracking is not loaded")]
    window = table_window(recording)
    if window is None:
        return [_unreadable(tables)]
    found: list[Finding] = []
    state = state_of(window, entry)
    if state is not None:
        found.append(of_table(window, state, entry))
    if window.risen(*CHAINS) >= entry.limit("min_chained"):
        found.append(of_chains(window, entry))
    others = of_namespaces(window, entry)
    if state is None and not others and window.log_lines(within=True):
        others = [of_unknown_namespace(window, entry)]
    found += others
    if not found and window.log is None and lacking_of(window) >= entry.limit("min_chained"):
        return [_unexplained(window)]
    return found or [_cleared(window, entry)]


def _unexplained(window: TableWindow) -> NotChecked:
    reason = (
        f"{lacking_of(window):,} packets were dropped within {window.seconds:.1f} s though the table was "
        f"{100 * window.highest.fill:.0f} % full at most when it was read: the kernel log, which tells whether it was "
        "full in between, was not read"
    )
    return NotChecked(rule=RULE, code="not-collected", reason=reason)


def _unreadable(tables: Sequence[Conntrack]) -> NotChecked:
    failures = [table.dump_failure for table in tables if table.dump_failure is not None]
    reason = "the size of the table of tracked connections could not be read"
    if not failures:
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    last = failures[-1]
    return NotChecked(
        rule=RULE, code=last.code, missing_capability=last.missing_capability, reason=f"{reason}: {last.reason}"
    )


def _cleared(window: TableWindow, entry: Entry) -> Cleared:
    reading, last = window.highest, window.last.table
    times = f"{len(window.readings)} snapshots" if len(window.readings) > 1 else "one snapshot"
    level = f"{100 * reading.fill:.0f} % at most" if reading.limit is not None else "it has no limit"
    drops = f"drops within {window.seconds:.1f} s" if window.counted else "drops could not be counted"
    unread = f", {last.netns_unread} not readable" if last.netns_unread else ""
    growth = "" if len(window.readings) > READINGS_AT_ENDS else "; too few to tell growth that goes on from a burst"
    return Cleared(
        rule=RULE,
        sensitivity=f"fill level at {times} ({level}{growth}); {drops}; fill of {max(len(last.counts) - 1, 0)} other "
        f"namespaces{unread}; a burst between two snapshots shows only by its drops",
        evidence=(table_evidence.fill(window, entry.limit("warn_fill")), *table_evidence.counters(window)),
    )
