"""Connects that get no answer: a dead server, a rule that drops, a full accept queue, one of several endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from whodunnet.model.connection_pairs import Pairs
from whodunnet.model.connections import Ending
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, NotChecked, Party
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_failures import ALL, Case, find_cases
from whodunnet.rules.connect_findings import Told, compose_all, listed, listening_evidence, queue_evidence, reading
from whodunnet.rules.connect_place import Place, place_of
from whodunnet.rules.connect_remedies import timeout_remedies
from whodunnet.rules.connect_room import Room, lack_of_room
from whodunnet.rules.connect_tries import UNTIL_REPEATED, Tries, kinds, since, tries_of
from whodunnet.rules.connection_sight import unless_lost, watched
from whodunnet.rules.openers import endpoint_party

RULE = "connect-timeout"
ENDINGS: Final[tuple[Ending, ...]] = ("timed-out", "given-up", "syn-retransmitted", "broken")
CUT_SHORT = "Some wait for less than a second, before their SYN is sent again: a server that is slower looks the same."
NOT_REACHED = "is whom they would reach; nothing speaks against it"
COUNTERS = ("TCPSynRetrans", "ListenOverflows", "TCPReqQFullDrop")


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, most failures first; else cleared with what was looked at."""
    pairs = watched(recording, RULE, COUNTERS)
    if isinstance(pairs, NotChecked):
        return [pairs]
    tries = tries_of(pairs)
    cases = find_cases(pairs, tries, unanswered, _anew, entry)
    if not cases:
        return [unless_lost(_cleared(pairs, tries, entry), pairs, entry, ENDINGS)]
    shown, left_out = listed(cases, entry)
    told = [(case, _told(case, tries, pairs, recording, entry), left_out) for case in shown]
    return compose_all(told, pairs, entry)


def unanswered(t: Tries) -> int:
    """None where lost SYNs are mostly made good (connect-slow); with the few messages (ICMP) that come through."""
    if t.mostly_slow:
        return 0
    return t.silent + t.unreachable + (t.told if t.told < t.silent else 0)


def _anew(t: Tries) -> int:
    """By a first repeat, or by an end before it; later repeats and ends are of connects that began before."""
    if t.mostly_slow:
        return 0
    broken = t.pair.spans("broken", state="syn-sent")
    return t.repeated + t.unsent + t.cut_short + sum(s.connections for s in broken) - since(broken, UNTIL_REPEATED)


def _told(case: Case, tries: Sequence[Tries], pairs: Pairs, recording: Recording, entry: Entry) -> Told:
    place, room = place_of(case, recording), lack_of_room(case, tries, recording)
    shape, confidence = _shape(case, place, room, _answered_elsewhere(case, tries), entry)
    room = room if shape == "table-full" else None
    full = place if shape == "queue-full" else None
    return Told(
        rule=RULE,
        shape=shape,
        confidence=confidence,
        verb="got no answer",
        failed=unanswered,
        peer="does not answer, or what is sent does not get there or back" if room is None else NOT_REACHED,
        endings=ENDINGS,
        lead=() if full is None or case.endpoint is None else (_with_full_queue(full, case.endpoint),),
        more=(
            *_readings(case, pairs), *(_of_place(place, pairs, shape) if place is not None else ()),
            *(room.evidence() if room is not None else ()),
        ),
        remedies=timeout_remedies(case, shape, place),
        extra=(
            *(case.whose_end if room is None else ()), *(full.words if full is not None else ()),
            *([CUT_SHORT] if case.sum(lambda t: t.cut_short) else ()),
        ),
    )  # fmt: skip


def _with_full_queue(place: Place, asked: Endpoint) -> Party:
    """Whose queue it is, or nobody where that is not known."""
    halted = f"is {place.halted}, and has caused nothing itself: it " if place.halted else ""
    effect = "does not accept: its accept queue is full, and the kernel drops the SYNs of new connects"
    return endpoint_party(place.role, asked, place.server, halted + effect, place.end.netns)


def _shape(case: Case, place: Place | None, room: Room | None, elsewhere: int, entry: Entry) -> tuple[str, Confidence]:
    """What it looks like from here. elsewhere: connects of the same clients that others have answered meanwhile."""
    told, nobody = case.sum(lambda t: t.told), case.sum(lambda t: t.unreachable)
    if place is not None and 2 * nobody < case.failed and place.overflowed(case.sum(lambda t: t.silent)):
        return "queue-full", "proven" if place.role in ("culprit", "reader") and place.stays_full else "likely"
    if room is not None and told + nobody < entry.limit("min_told"):
        return "table-full", "likely"
    if case.endpoint is None:
        return "many-addresses", "likely"
    if 2 * nobody >= case.failed:
        return "nobody-there", "proven"
    if nobody >= entry.limit("min_told"):
        return "nobody-there", "likely"
    if told >= entry.limit("min_told"):
        return "rejected-too-seldom", "likely"
    return _by_share(case, elsewhere, entry)


def _by_share(case: Case, elsewhere: int, entry: Entry) -> tuple[str, Confidence]:
    others = sum(n for _, n in case.others)
    if case.share >= ALL:
        if others >= entry.limit("min_failed"):
            return "only-some-clients", "likely"
        ended = case.sum(lambda t: t.ended) >= entry.limit("min_failed")
        return "nobody-answers", "proven" if elsewhere and ended else "likely"
    if case.tries[0].pair.answered_by:
        return "some-endpoints", "likely"
    return "lost-at-times", "likely"


def _answered_elsewhere(case: Case, tries: Sequence[Tries]) -> int:
    clients = {(t.pair.client.key, t.pair.client.netns) for t in case.tries}
    return sum(
        t.opened
        for t in tries
        if (t.pair.client.key, t.pair.client.netns) in clients and t.pair.server not in case.endpoints
    )


def _readings(case: Case, pairs: Pairs) -> list[Evidence]:
    at = pairs.window.at
    parts = (
        ("Of those given up, by the program or the kernel, after a SYN was sent again", case.sum(lambda t: t.ended)),
        ("Still waiting, after a SYN was sent again", case.sum(lambda t: t.waiting)),
        ("Given up by the program before a SYN was sent again", case.sum(lambda t: t.cut_short)),
        ("Ended because nobody has that address on its network", case.sum(lambda t: t.unreachable)),
        ("Rejected by a message (ICMP)", case.sum(lambda t: t.rejected)),
        ("Closed at once by their own program, as after a rejection", case.sum(lambda t: t.shut)),
    )
    return [reading(at, statement, n, "connects") for statement, n in parts if n]


def _of_place(place: Place, pairs: Pairs, shape: str) -> list[Evidence]:
    if shape == "queue-full":
        return queue_evidence(place, pairs.window.at)
    return listening_evidence(place, pairs.window.at)


def _cleared(pairs: Pairs, tries: Sequence[Tries], entry: Entry) -> Cleared:
    found, at = kinds(tries), pairs.window.at
    reach = (
        f"{entry.limit('min_rate'):.0f} or more connects a second to one endpoint, or of one client, that are sent "
        f"again throughout the window of {pairs.window.seconds:.1f} s and get no answer; what began or ended meanwhile "
        "shows in a shorter part of a recording (replay --from, --for); whoever gives up before the first repeat (1 s) "
        "is not counted where that endpoint, or another address of its port, answers; a few callers that wait for long "
        "are for service-hang"
    )
    if found["not_sent"]:
        reach += f"; {found['not_sent']:,} connects failed before their first SYN, as no local port was free"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            reading(at, "Connects that were answered", found["opened"], "connects"),
            reading(at, "Without an answer after a SYN was sent again", found["ended"] + found["waiting"], "connects"),
        ),
    )
