"""Connects that take a second or more because a SYN, or the answer to it, was lost: by steps, not by a slow path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from whodunnet.model.connection_pairs import Pairs
from whodunnet.model.connections import Ending, Span
from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_failures import Case, find_cases
from whodunnet.rules.connect_findings import Told, compose_all, listed, queue_evidence, reading
from whodunnet.rules.connect_place import place_of
from whodunnet.rules.connect_remedies import AT_ONCE, queue_remedies, slow_remedies
from whodunnet.rules.connect_tries import UNTIL_REPEATED, Tries, kinds, tries_of
from whodunnet.rules.connection_sight import unless_lost, watched
from whodunnet.rules.openers import endpoint_party

RULE = "connect-slow"
ENDINGS: Final[tuple[Ending, ...]] = ("syn-retransmitted",)
COUNTERS = ("TCPSynRetrans", "ListenOverflows", "TCPReqQFullDrop")
GAP_SECONDS = 0.5
"""From here to the first repeat there is a gap: a path around the world takes less, if it is not slow in itself."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, most slow connects first; else cleared with what was looked at."""
    pairs = watched(recording, RULE, COUNTERS)
    if isinstance(pairs, NotChecked):
        return [pairs]
    tries = tries_of(pairs)
    cases = find_cases(pairs, tries, lambda t: lost(t, entry), _anew, entry)
    if not cases:
        return [unless_lost(_cleared(pairs, tries, entry), pairs, entry, ENDINGS)]
    shown, left_out = listed(cases, entry)
    return compose_all([(case, _told(case, pairs, recording, entry), left_out) for case in shown], pairs, entry)


def lost(t: Tries, entry: Entry) -> int:
    """Connects that a repeated SYN opened; none where as many get no answer at all, or where the path is slow."""
    if not t.mostly_slow or t.repeated < entry.limit("repeated_share") * t.slow or _is_smooth(t, entry):
        return 0
    return t.slow


def _anew(t: Tries) -> int:
    """First repeats that opened something: those that need more repeats had begun before."""
    return min(t.repeated, t.slow)


def _is_smooth(t: Tries, entry: Entry) -> bool:
    """Whether more take most of a second than a second, as on a path that is slow; lost SYNs leave a gap there."""
    between = sum(s.connections for s in t.pair.spans("opened") if GAP_SECONDS <= s.mean < UNTIL_REPEATED)
    return between > entry.limit("smooth_ratio") * t.slow


def _told(case: Case, pairs: Pairs, recording: Recording, entry: Entry) -> Told:
    place, at = place_of(case, recording), pairs.window.at
    full = place if place is not None and place.overflowed(case.failed) else None
    return Told(
        rule=RULE,
        shape="queue-full" if full is not None else "lost-syns",
        confidence="likely" if full is not None or case.endpoint is None else "proven",
        verb="had to send their SYN again",
        failed=lambda t: lost(t, entry),
        peer="is connected to after a second or more",
        endings=ENDINGS,
        lead=() if full is None or case.endpoint is None else (
            endpoint_party(
                "peer" if full.role == "peer" else "holder", case.endpoint, full.server,
                "its accept queue is full for moments, and the kernel then drops the SYNs of new connects",
                full.end.netns,
            ),
        ),
        more=(*_times(case, pairs), *(queue_evidence(full, at) if full is not None else ())),
        remedies=(*(queue_remedies(full) if full is not None else slow_remedies(case)), AT_ONCE),
        extra=full.words if full is not None else (),
    )  # fmt: skip


def _times(case: Case, pairs: Pairs) -> list[Evidence]:
    """How long connects took, by the steps of the kernel; and the repeats."""
    at, steps = pairs.window.at, Counter[int]()
    quick: list[Span] = []
    for t in case.tries:
        for span in t.pair.spans("opened"):
            if span.mean >= UNTIL_REPEATED:
                steps[round(span.mean)] += span.connections
            else:
                quick.append(span)
    found = [
        reading(at, f"Of those, connects that took about {step} s", n, "connects") for step, n in sorted(steps.items())
    ]
    n = sum(s.connections for s in quick)
    if n:
        mean = sum(s.seconds for s in quick) / n
        found.append(reading(at, "Mean time of all other connects", round(mean, 6), "seconds"))
    repeats = sum(t.pair.count("syn-retransmitted") for t in case.tries)
    found.append(
        reading(
            at, "SYNs that were sent again", repeats, "SYNs",
            repeat="nstat -asz TcpExtTCPSynRetrans  # in the network namespace of who connects, twice",
        )
    )  # fmt: skip
    return found


def _cleared(pairs: Pairs, tries: Sequence[Tries], entry: Entry) -> Cleared:
    found, at = kinds(tries), pairs.window.at
    percent, rate = 100 * entry.limit("min_share"), entry.limit("min_rate")
    reach = (
        f"{percent:.0f} % or more of the connects to one endpoint, and {rate:g} or more a second throughout the window "
        f"of {pairs.window.seconds:.1f} s, that take 1 s or more because a SYN is sent again; what began or ended "
        "meanwhile shows in a shorter part of a recording (replay --from, --for)"
    )
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            reading(at, "Connects that were answered", found["opened"], "connects"),
            reading(at, "Of those after 1 s or more", found["slow"], "connects"),
        ),
    )
