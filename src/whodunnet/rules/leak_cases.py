"""Candidates that passed their test, with what they cause in others, how sure that is, and how bad."""

from __future__ import annotations

import msgspec

from whodunnet.model.finding import Confidence, Severity
from whodunnet.rules.backpressure import Backpressure, Held, remote_key, remote_sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.leak_relays import SHAPE, as_handed_on, half_closed, is_before, is_handed_on
from whodunnet.rules.leak_shapes import TESTS, Signs
from whodunnet.rules.tally import Candidate, Tally
from whodunnet.rules.window import Window


class Case(msgspec.Struct, kw_only=True):
    """One candidate that passed its test, with what it causes in others.

    waits: connections on which it has handed the close on. for_another: of these cases, another is who does not close.
    """

    candidate: Candidate
    signs: Signs
    caused_bytes: int
    held: dict[str, Held]
    waits: Tally | None = None
    for_another: bool = False
    excess_share: float = 0.0
    confidence: Confidence = "possible"

    def is_denied(self, window: Window) -> bool:
        """Whether it may take no connection because the node had no file left for one."""
        return self.signs.shape == "accept-not-called" and window.files_spent


def cases_of(found: list[Candidate], entry: Entry, window: Window, pressure: Backpressure) -> list[Case]:
    """Every candidate that is a leak, or a halted reader; surest and largest first."""
    cases = []
    readers = {c.key for c in found if c.shape == "response-never-read" and c.last.sockets >= entry.limit("min_unread")}
    readers |= {remote_key(a) for a in pressure.by_remote if remote_sockets(pressure, a) >= entry.limit("min_sockets")}
    halves = half_closed(window.sockets, window.workloads)
    for c in found:
        held = _caused(c, pressure, readers)
        if held is None:
            continue
        caused = min(c.last.memory_bytes + sum(h.memory_bytes for h in held.values()), window.total_bytes)
        signs = TESTS[c.shape](c, entry, window, caused)
        if signs is None:
            continue
        waits = halves[c.key] if is_handed_on(c, halves.get(c.key)) else None
        signs = as_handed_on(signs, waits) if waits else signs
        cases.append(Case(candidate=c, signs=signs, caused_bytes=caused, held=held, waits=waits))
    return _weighed(cases, found, entry, window)


def _caused(c: Candidate, pressure: Backpressure, readers: set[str]) -> dict[str, Held] | None:
    """Send queues that this reader keeps full, also through relays; None for one that only passes it on.

    readers: who can be named in its stead. Where nobody can, it is not excused.
    """
    if c.shape == "orphans" and 2 * _orphans_of_readers(c, pressure) >= c.last.sockets:
        return None
    if c.shape != "response-never-read":
        return {}
    if c.key in pressure.relays and (pressure.origins(c.key) - {c.key}) & readers:
        return None
    return pressure.held_for(c.key)


def _orphans_of_readers(c: Candidate, pressure: Backpressure) -> int:
    """How many of these orphans wait for a reader on this node; that reader is the finding."""
    held = (held for table in pressure.by_reader.values() for held in table.values() if held.orphans)
    return sum(h.orphans[endpoint] for h in held if set(h.netns) & set(c.last.netns) for endpoint in c.last.endpoints)


def _weighed(cases: list[Case], found: list[Candidate], entry: Entry, window: Window) -> list[Case]:
    """Each case's share of the excess: of all memory that is stuck, or of all sockets of the same shape."""
    closed = sum(g.memory_bytes for g in window.sockets.groups if g.symptom == "window-closed")
    unread = sum(g.memory_bytes for g in window.sockets.groups if g.symptom == "unread" and g.protocol == "tcp")
    relays = {case.candidate.key for case in cases if case.waits}
    for case in cases:
        others = [k.candidate for k in cases if k is not case and k.candidate.shape == "close-forgotten"]
        case.for_another = case.waits is not None and any(is_before(case.waits, c) for c in others)
        if case.signs.shape in ("response-never-read", "reader-stopped", "orphans"):
            case.excess_share = min(case.caused_bytes / max(closed + unread, 1), 1.0)
        else:
            alike = [c for c in found if c.shape == case.candidate.shape]
            same = sum(c.last.sockets for c in alike if case.waits or c.key not in relays)
            case.excess_share = case.candidate.last.sockets / max(same, 1)
        case.confidence = _confidence(case, entry, window)
    return sorted(cases, key=lambda k: (k.confidence != "possible", k.caused_bytes, k.signs.affected), reverse=True)


def _confidence(case: Case, entry: Entry, window: Window) -> Confidence:
    """The test that docs/rules/socket-leak.md states; one snapshot alone is never more than possible.

    Sockets that other processes have open too are nobody's alone, and those of init were handed on by it."""
    if window.snapshots < 2 or not case.signs.strong or case.is_denied(window):
        return "possible"
    if 2 * case.candidate.last.shared > case.candidate.last.sockets:
        return "possible" if 1 in case.candidate.last.pids else "likely"
    if case.waits:
        return "likely"
    if (
        case.signs.observed
        and case.excess_share >= entry.limit("proven_share")
        and window.attributed >= entry.limit("proven_attributed")
    ):
        return "proven"
    return "likely"


def severity_of(case: Case, window: Window) -> Severity:
    """Critical only where memory is used up and this ties up most of it; small or unsure ones are worth knowing."""
    ties_most = case.caused_bytes >= 0.5 * window.total_bytes
    if window.exhausted and ties_most and case.signs.shape != "orphans":
        return "critical" if case.confidence != "possible" else "warning"
    if case.signs.shape == SHAPE and case.for_another:
        return "info"
    if case.signs.shape == "reader-stopped":
        return "warning" if window.strained and ties_most else "info"
    return "info" if case.confidence == "possible" or case.signs.small else "warning"
