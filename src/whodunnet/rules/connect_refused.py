"""Connects that are refused: nothing listens there, a rule rejects them, or one of several endpoints is down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from whodunnet.model.connection_pairs import Pairs
from whodunnet.model.connection_window import ConnectionWindow
from whodunnet.model.connections import Ending
from whodunnet.model.finding import Answer, Cleared, Confidence, NotChecked
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_failures import ALL, Case, answered_until, find_cases
from whodunnet.rules.connect_findings import Told, compose_all, listed, listening_evidence, reading
from whodunnet.rules.connect_others import client_of_pair
from whodunnet.rules.connect_place import Place, place_of
from whodunnet.rules.connect_remedies import port_remedies, refused_remedies
from whodunnet.rules.connect_tries import UNTIL_REPEATED_AGAIN, Tries, kinds, since, tries_of
from whodunnet.rules.connection_sight import unless_lost, watched
from whodunnet.rules.identity import short_name

RULE = "connect-refused"
ENDINGS: Final[tuple[Ending, ...]] = ("refused", "rejected", "broken")
COUNTERS = ("AttemptFails",)
SAME_NUMBER = (0.9, 1.2)
"""Answered at the other family for each that is refused: one each, but for the edges of the window."""
STARTING = (
    "{who} began {seconds:.0f} s before the end of this window and does not listen there so far: it may be starting."
)
TRANSLATED = (
    "A translation (NodePort, hostPort, a published port) may lead these connects elsewhere: the entry of a refused "
    "connect is gone at once, so it is not seen. Then it is whoever is behind it that refuses."
)


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, most failures first; else cleared with what was looked at."""
    pairs = watched(recording, RULE, COUNTERS)
    if isinstance(pairs, NotChecked):
        return [pairs]
    tries = tries_of(pairs)
    second = _tried_elsewhere(tries)
    cases = find_cases(pairs, [t for t in tries if id(t) not in second], refusals, _anew, entry)
    unsent = find_cases(pairs, tries, _unsent, _unsent, entry)
    if not cases and not unsent:
        found = _cleared(pairs, tries, sum(map(refusals, (t for t in tries if id(t) in second))), entry)
        return [unless_lost(found, pairs, entry, ENDINGS)]
    (shown, left_out), (also, more) = listed(cases, entry), listed(unsent, entry)
    told = [(case, _told(case, pairs, recording, entry), left_out) for case in shown]
    told += [(case, _no_port(case), more) for case in also]
    return compose_all(told, pairs, entry)


def refusals(t: Tries) -> int:
    """Of messages by ICMP only where they are not the few that come through of a silence (connect-timeout)."""
    return t.refused + (t.told if t.told >= t.silent else 0)


def _anew(t: Tries) -> int:
    """Told before a second repeat: whoever waited for longer had begun before."""
    told: tuple[Ending, ...] = ("refused", "rejected", "broken")
    late = since(t.pair.spans(*told, state="syn-sent"), UNTIL_REPEATED_AGAIN)
    return t.pair.count(*told, state="syn-sent") - late + t.shut


def _unsent(t: Tries) -> int:
    return t.not_sent


def _tried_elsewhere(tries: Sequence[Tries]) -> set[int]:
    """Whose program goes on to the other address of the same name at once: IPv6 is refused, IPv4 answers."""
    low, high = SAME_NUMBER
    answered = Counter[tuple[object, ...]]()
    for t in tries:
        answered[_family(t, other=False)] += t.opened
    return {
        id(t)
        for t in tries
        if t.refused
        and not t.opened
        and t.pair.server.address is not None
        and low * t.refused <= answered[_family(t, other=True)] <= high * t.refused
    }


def _family(t: Tries, *, other: bool) -> tuple[object, ...]:
    """A client with a port it asks, by IPv4 or IPv6."""
    address = t.pair.server.address or ""
    return *client_of_pair(t.pair), t.pair.server.port, (":" in address) != other, is_loopback(address)


def _told(case: Case, pairs: Pairs, recording: Recording, entry: Entry) -> Told:
    place = place_of(case, recording, translated=False)
    gone = _gone(case, place, pairs.window)
    shape, confidence = _shape(case, place, gone)
    starting = _starting(place, pairs, entry) if shape == "nothing-listens" else None
    return Told(
        rule=RULE,
        shape=shape,
        confidence="possible" if starting else confidence,
        verb="were refused",
        failed=refusals,
        peer="refuses, or something on the way does",
        endings=ENDINGS,
        more=(
            reading(pairs.window.at, "Of those by a reset", case.sum(lambda t: t.refused), "connects"),
            reading(pairs.window.at, "By a message (ICMP)", case.sum(lambda t: t.rejected), "connects"),
            reading(pairs.window.at, "Closed at once by their own program", case.sum(lambda t: t.shut), "connects"),
            *(listening_evidence(place, pairs.window.at, gone) if place is not None else ()),
        ),
        remedies=refused_remedies(case, shape),
        extra=(*case.whose_end, *([starting] if starting else ()), *_doubts(place, shape)),
    )


def _no_port(case: Case) -> Told:
    return Told(
        rule=RULE,
        shape="no-free-port",
        confidence="proven",
        verb="failed before the first SYN",
        failed=_unsent,
        peer="is what they would have connected to; it was not asked",
        endings=("not-sent",),
        remedies=port_remedies(case),
        kind="no-free-port ",
    )


def _gone(case: Case, place: Place | None, window: ConnectionWindow) -> int:
    """Connects answered before a reading in which nobody listened: by somebody who was not seen to leave.

    In each snapshot connections are read before listeners.
    """
    if place is None or place.unheard is None or place.left:
        return 0
    return answered_until(case, window, place.unheard)


def _shape(case: Case, place: Place | None, gone: int) -> tuple[str, Confidence]:
    resets = case.sum(lambda t: t.refused)
    if case.endpoint is None:
        return "many-addresses", "likely"
    if 2 * case.sum(lambda t: t.shut) > case.failed:
        return "closed-at-once", "likely"
    if 2 * resets < case.failed:
        return "rejected", "proven"
    if place is not None and place.readings:
        return _of_listener(case, place, gone)
    if case.share >= ALL:
        return "refuses-all", "likely"
    return ("some-endpoints" if case.tries[0].pair.answered_by else "refuses-some"), "likely"


def _of_listener(case: Case, place: Place, gone: int) -> tuple[str, Confidence]:
    """Where it is on this node, and listeners are known. gone: answered by somebody who is."""
    sure: Confidence = "proven" if place.readings > 1 and not place.translatable else "likely"
    if place.may_be_ipv6_only and case.share >= ALL and not case.others:
        return "refuses-all", "likely"
    if place.heard == place.readings:
        return ("reset-by-rule" if case.share >= ALL else "refuses-some"), "likely"
    if place.heard == 0 and case.share >= ALL:
        return "nothing-listens", sure
    if not place.left and not gone:
        return "comes-and-goes", "possible"  # somebody has begun to listen: a start looks the same
    return "comes-and-goes", sure if place.heard else "likely"


def _doubts(place: Place | None, shape: str) -> tuple[str, ...]:
    listened = shape in ("nothing-listens", "comes-and-goes", "reset-by-rule")
    return (TRANSLATED,) if listened and place is not None and place.translatable else ()


def _starting(place: Place | None, pairs: Pairs, entry: Entry) -> str | None:
    """Words for a server that has only just begun; what listens on another port may be a sidecar."""
    workload = place.end.workload if place is not None else None
    begun = [thing.started for thing in (workload.container, workload.process) if thing] if workload else []
    if workload is None or not begun or begun[0] is None:
        return None
    seconds = (pairs.window.at.wall - begun[0]).total_seconds()
    if not 0 <= seconds - pairs.window.seconds < entry.limit("start_time"):
        return None
    return STARTING.format(who=short_name(workload), seconds=seconds)


def _cleared(pairs: Pairs, tries: Sequence[Tries], second: int, entry: Entry) -> Cleared:
    found, at = kinds(tries), pairs.window.at
    reach = (
        f"{entry.limit('min_rate'):.0f} or more connects a second to one endpoint, or of one client, that are refused "
        f"throughout the window of {pairs.window.seconds:.1f} s; what began or ended meanwhile shows in a shorter part "
        "of a recording (replay --from, --for)"
    )
    if second:
        reach += f"; {second:,} were refused at one address of a name and answered at the other, of IPv4 and IPv6"
    return Cleared(
        rule=RULE,
        sensitivity=reach + "; what fails before the first SYN (no route) is not seen",
        evidence=(
            reading(at, "Connects that were answered", found["opened"], "connects"),
            reading(at, "Connects that were refused", found["refused"] + found["rejected"], "connects"),
        ),
    )
