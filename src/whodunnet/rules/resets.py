"""Connections that are cut by a reset: by the server's own process, by whoever is in between, by the client."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.connection_pairs import Pairs
from whodunnet.model.finding import Answer, Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_findings import reading
from whodunnet.rules.connection_sight import ungrouped, watched
from whodunnet.rules.reset_cases import find_resets
from whodunnet.rules.reset_cuts import ENDED, Cut, cuts_of
from whodunnet.rules.reset_findings import RULE, compose_all

COUNTERS = ("EstabResets", "OutRsts", "TCPAbortOnClose", "TCPAbortOnData")


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, those that hurt first; else cleared with what was looked at."""
    pairs = watched(recording, RULE, COUNTERS)
    if isinstance(pairs, NotChecked):
        return [pairs]
    cuts = cuts_of(pairs, entry)
    cases = find_resets(pairs, cuts, entry)
    if not cases:
        return [_nothing(pairs, cuts, entry)]
    most = int(entry.limit("listed_cases"))
    return compose_all(cases[:most], recording, pairs, entry, len(cases) - most)


def _nothing(pairs: Pairs, cuts: Sequence[Cut], entry: Entry) -> Answer:
    at, total = pairs.window.at, pairs.window.total
    lost = ungrouped(pairs, *ENDED)
    every = sum(g.connections for g in total.groups if g.ending in ENDED)
    every += sum(total.other.get(ending, 0) for ending in ENDED)
    if lost > entry.limit("lost_share") * every:
        reason = f"{lost:,} of {every:,} ends of connections found no room and were only counted"
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    reach = (
        f"{100 * entry.limit('min_share'):.0f} % or more of the connections to one endpoint, and "
        f"{entry.limit('min_rate'):g} or more a second throughout the window of {pairs.window.seconds:.1f} s, that are "
        "reset while they are used; resets after a pause are for keepalive-mismatch, unless the server's end on this "
        "node stays open, those after the end are harmless"
    )
    if lost:
        reach += f"; {lost:,} of {every:,} ends were only counted"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            reading(at, "Connections that ended", sum(c.ended for c in cuts), "connections"),
            reading(at, "Of those reset while used", sum(c.received for c in cuts), "connections"),
            reading(at, "Reset by the client itself", sum(c.aborted for c in cuts), "connections"),
        ),
    )
