"""For how long a server keeps an idle connection: what its closes have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connection_window import sum_spans
from whodunnet.model.connections import ConnectionGroup, Span
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry

Place = tuple[Endpoint, int | None]
"""A server endpoint, with the network namespace of the server; of the client, where that is not known."""


class Closes(msgspec.Struct, frozen=True, kw_only=True):
    """How one server endpoint closed connections. idle: times of those it closed after a pause; sooner: of others.

    untimed: those of which the time was not kept. farewells: how many of the idle ones it said something at.
    """

    idle: tuple[Span, ...]
    sooner: tuple[Span, ...]
    untimed: int
    farewells: int

    @property
    def all(self) -> int:
        return sum_of(self.idle) + sum_of(self.sooner) + self.untimed


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """An idle timeout: the median of a cluster of closes. least, most: its bounds, in seconds.

    closes: in the cluster. of: all that the server closed. farewell: it says something before it closes (TLS), and time
    is counted from what the client sent last.
    """

    seconds: float
    least: float
    most: float
    closes: int
    of: int
    farewell: bool


def place_of(pair: Pair) -> Place:
    """What makes two pairs ask the same server: networks that do not know of each other may have the same addresses.

    Where translation leads, each namespace may be told otherwise.
    """
    there = {g.netns for g in pair.there}
    server = pair.server_end.netns if not there else there.pop() if len(there) == 1 else None
    return pair.server, pair.client.netns if server is None or pair.answered_by else server


def closes_of(pairs: Iterable[Pair], entry: Entry) -> dict[Place, Closes]:
    """By server endpoint, from all of its clients."""
    found: dict[Place, dict[ConnectionGroup, None]] = {}
    for pair in pairs:
        found.setdefault(place_of(pair), {}).update(dict.fromkeys(closed_by_server(pair)))
    return {place: _closes(list(groups), entry) for place, groups in found.items()}


def closed_by_server(pair: Pair) -> list[ConnectionGroup]:
    """Where the server closed first: by its own end if that is here, since a write that crosses does not mar it."""
    there = [g for g in pair.there if g.ending == "closed-here"]
    return there or [g for g in pair.here if g.ending == "closed-by-peer"]


def find_limit(closes: Closes, entry: Entry) -> Limit | None:
    """None without a cluster that has most of the idle closes."""
    best: Sequence[Span] = max(_windows(closes.idle, entry), key=sum_of, default=())
    n = sum_of(best)
    majority = entry.limit("cluster_majority")
    if n < entry.limit("min_closes") or n < majority * sum_of(closes.idle):
        return None
    # As many just before it: these are the shortest of times that are spread, such as those of a server that restarts.
    nearest = best[0].mean - _width(best[0].mean, entry)
    if sum_of(s for s in closes.sooner if s.mean >= nearest) > (1 - majority) * n:
        return None
    return Limit(
        seconds=middle(best),
        least=best[0].mean,
        most=best[-1].mean,
        closes=n,
        of=closes.all,
        farewell=2 * closes.farewells >= sum_of(closes.idle),
    )


def _closes(groups: Sequence[ConnectionGroup], entry: Entry) -> Closes:
    shortest = entry.limit("min_timeout")
    spans = timed(groups)
    idle = tuple(sorted((s for s in spans if s.mean >= shortest), key=lambda s: s.mean))
    return Closes(
        idle=idle,
        sooner=tuple(s for s in spans if s.mean < shortest),
        untimed=sum(g.connections for g in groups if not g.spans),
        farewells=sum_of(s for s in timed(g for g in groups if g.last_word) if s.mean >= shortest),
    )


def _windows(spans: Sequence[Span], entry: Entry) -> Iterator[Sequence[Span]]:
    """From each class on, the classes that are as near as those of one timeout would be. spans: by their mean."""
    end = 0
    for begin, first in enumerate(spans):
        while end < len(spans) and spans[end].mean <= first.mean + _width(first.mean, entry):
            end += 1
        yield spans[begin:end]


def _width(seconds: float, entry: Entry) -> float:
    steady = min(entry.limit("cluster_width"), seconds / 2)
    return max(steady, entry.limit("cluster_ratio") * seconds)


def timed(groups: Iterable[ConnectionGroup]) -> tuple[Span, ...]:
    """All their times by class."""
    return sum_spans(s for g in groups for s in g.spans if s.connections)


def sum_of(spans: Iterable[Span]) -> int:
    """How many connections."""
    return sum(s.connections for s in spans)


def middle(spans: Sequence[Span]) -> float:
    """The median, exact within its class, whose mean it is. Raises IndexError of none."""
    wanted = sum_of(spans) / 2
    for span in spans:
        wanted -= span.connections
        if wanted <= 0:
            return span.mean
    return spans[-1].mean
