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

    paused: the same after a pause. early: in CLOSE_WAIT without a pause: the server closed while data still came.
    aborted: resets by the client itself. Where only the accepting end is on this node, received are those that it sent.
    """

    pair: Pair
    ended: int
    received: int
    paused: int = 0
    early: int = 0
    aborted: int = 0


Counted = Callable[[Cut], int]


def cuts_of(pairs: Pairs, entry: Entry) -> list[Cut]:
    """Of all pairs, also those of which nothing has ended."""
    return [cut_of(pair, entry) for pair in pairs.pairs]


def cut_of(pair: Pair, entry: Entry) -> Cut:
    pause = entry.limit("pause")
    own, other = _times(pair, "reset-sent", "established"), _times(pair, "reset-received", "established")
    early = _times(pair, "reset-received", "close-wait")
    by_server, by_client = (other, own) if pair.here else (own, other)
    return Cut(
        pair=pair,
        ended=pair.count(*ENDED, state="established"),
        received=sum(n for time, n in by_server if time < pause),
        paused=sum(n for time, n in by_server if time >= pause),
        early=sum(n for time, n in early if time < pause) if pair.here else 0,
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


def quicker(groups: Iterable[ConnectionGroup], seconds: float) -> int:
    """Those that ended so soon after data had moved."""
    return sum(s.connections for g in groups for s in g.spans if s.mean < seconds)
