"""Of one client with one endpoint: how many of its connections were reset, by whom, and in which state."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.connections import ConnectionGroup, Ending
from whodunnet.rules.catalogue import Entry

ENDED: tuple[Ending, ...] = (
    "closed-here", "closed-by-peer", "reset-sent", "reset-received", "timed-out", "broken",
)  # fmt: skip
RESETTING: tuple[Ending, ...] = ("reset-sent", "timed-out", "broken")
"""Endings of which the other end learns by a reset: also keep-alive that nobody answers, and ss --kill."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One pair. ended: its connections that ended. received: resets while open, that answer what was just sent.

    paused: resets while open, after a pause; asked: of those, the ones that answer a write of the client.
    early: in CLOSE_WAIT without a pause: the server closed while data still came; unheard: of those, where it had never
        sent a byte.
    aborted: resets by the client itself. Where only the accepting end is on this node, received are those that it sent.
    """

    pair: Pair
    ended: int
    received: int
    paused: int = 0
    asked: int = 0
    early: int = 0
    unheard: int = 0
    aborted: int = 0


Counted = Callable[[Cut], int]


def cuts_of(pairs: Pairs, entry: Entry) -> list[Cut]:
    """Of all pairs, also those of which nothing has ended."""
    return [cut_of(pair, entry) for pair in pairs.pairs]


def cut_of(pair: Pair, entry: Entry) -> Cut:
    pause = entry.limit("pause")
    own, other = _times(pair, "reset-sent", "established"), _times(pair, "reset-received", "established")
    closing = [g for g in pair.here if (g.ending, g.state) == ("reset-received", "close-wait")]
    by_server, by_client = (other, own) if pair.here else (own, other)
    return Cut(
        pair=pair,
        ended=pair.count(*ENDED, state="established"),
        received=sum(n for time, n in by_server if time < pause),
        paused=sum(n for time, n in by_server if time >= pause),
        asked=sum(s.connections for g in open_ends(pair.here) if g.asked for s in g.spans if s.mean >= pause),
        early=quicker(closing, pause),
        unheard=quicker((g for g in closing if g.unanswered), pause),
        aborted=sum(n for _, n in by_client),
    )


def _times(pair: Pair, ending: Ending, state: str) -> list[tuple[float, int]]:
    return [(s.mean, s.connections) for s in pair.spans(ending, state=state)]


def together(pairs: Iterable[Pair]) -> list[Pair]:
    """All with one address as one, for the accepting end does not tell them apart; named if it is one program."""
    found: dict[tuple[str | None, int | None], list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair.client.address, pair.client.netns), []).append(pair)
    return [_joined(same) for same in found.values()]


def _joined(same: list[Pair]) -> Pair:
    first = same[0]
    everybody = End(key=f"address {first.client.address}", address=first.client.address, netns=first.client.netns)
    return msgspec.structs.replace(
        first,
        client=first.client if len(same) == 1 else everybody,
        processes=first.processes if len(same) == 1 else {},
        here=tuple(g for pair in same for g in pair.here),
        there=tuple(dict.fromkeys(g for pair in same for g in pair.there)),
    )


def in_its_name(pair: Pair) -> Cut:
    """Received: resets that the accepting end received and that the client's programs have not sent.

    More connections than these have made came by another way, such as a Service: they may have been reset by anybody.
    """
    here, there = open_ends(pair.here), open_ends(pair.there)
    own = sum(g.connections for g in here if g.ending in RESETTING)
    ended, opened = (sum(g.connections for g in here if (g.ending == "opened") is was) for was in (False, True))
    every = sum(g.connections for g in there)
    received = sum(g.connections for g in there if g.ending == "reset-received")
    return Cut(pair=pair, ended=every, received=max(received - own - max(every - max(ended, opened), 0), 0))


def open_ends(groups: Iterable[ConnectionGroup]) -> tuple[ConnectionGroup, ...]:
    """Of connections that were open until then."""
    return tuple(g for g in groups if g.state == "established")


def outlived(there: Iterable[ConnectionGroup]) -> int:
    """Accepting ends that somebody who does not know them resets: when they send something, or close.

    Data that comes after a close is answered by a reset, and counts as one that was received, too.
    """
    met = {("reset-received", "established"): 1, ("reset-received", "fin-wait-1"): 1, ("late-data", "close"): -1}
    return sum(met.get((g.ending, g.state), 0) * g.connections for g in there)


def explained(here: Iterable[Cut], others: Iterable[Cut]) -> int:
    """Of those ends: what clients reset themselves in any state, and what was reset of who came by another endpoint.

    Who closes with the server's last words unread resets a server that may not have had its FIN acknowledged.
    """
    others = list(others)
    groups = [g for cut in (*here, *others) for g in cut.pair.here]
    own = sum(g.connections for g in groups if g.ending in (*RESETTING, "late-data") and g.state != "syn-sent")
    return own + sum(cut.received + cut.paused for cut in others)


def quicker(groups: Iterable[ConnectionGroup], seconds: float) -> int:
    """Those that ended so soon after data had moved."""
    return sum(s.connections for g in groups for s in g.spans if s.mean < seconds)
