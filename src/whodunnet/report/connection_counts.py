"""What became of connections: opened, failed, closed by whom and after which idle time, reset in which state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connections import ConnectionGroup, Ending
from whodunnet.rules.catalogue import Entry, catalogue
from whodunnet.rules.idle_timeouts import Closes, closes_of, find_limit, middle, sum_of, timed

EndName = Literal["client", "server"]
FIRST_ENDINGS = frozenset({"closed-here", "closed-by-peer", "reset-sent", "reset-received", "timed-out", "broken"})
"""Of which a connection has exactly one while it is established (ConnectionGroup)."""
RESETS = frozenset({"reset-sent", "reset-received", "late-data"})
_TAKES_TIME = frozenset({"timed-out", "broken"})
"""If a connect went so at once, its beginning was not seen."""
_NO_OUTCOME = frozenset({"opened", "closed-here", "closed-by-peer", "syn-retransmitted"})
_USUAL = 0.5
_SLOWEST = 0.99
TICK_SECONDS = 0.001
"""Times while connecting are whole milliseconds."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Idle times at close that are as near to each other as those of one timeout would be.

    seconds: their median. connections: how many have one of them. of: all that this side closed. farewell: it says
    something before it closes (TLS), and time is counted from what the other side sent last.
    """

    seconds: float
    least_seconds: float
    most_seconds: float
    connections: int
    of: int
    farewell: bool


class Closings(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that one side closed first. at_once: less than 0.5 s after data last moved. untimed: nobody knows.

    idle_p50_seconds: of all others. cluster: None without one, or of several servers together.
    """

    connections: int = 0
    at_once: int = 0
    untimed: int = 0
    idle_p50_seconds: float | None = None
    cluster: Cluster | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Connections (resets, of "late-data") with one ending in one state, as the end `seen_by` had them.

    p50_seconds: while connecting, how long it had been tried; None where that is not known of most; of others how long
    it had been quiet (ConnectionGroup).
    """

    ending: Ending
    state: str
    seen_by: EndName
    connections: int
    p50_seconds: float | None

    @property
    def sender(self) -> EndName:
        """Of a reset: from where it came."""
        return other_end(self.seen_by) if self.ending == "reset-received" else self.seen_by


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Each connection once: at the connecting end, at the accepting one where only that is on this node.

    opened: None where only accepting ends were seen. ended: by whatever. failed: connects that came to nothing.
    resets: of connections in use, or used again after the server had closed. late_resets: all others, usually harmless.
    lost: open ones that timed out or broke. syn_retransmitted: SYNs sent again. connect_*: how long connects took.
    """

    opened: int | None
    ended: int
    failed: int
    failed_connects: tuple[Outcome, ...]
    closed_by_client: Closings
    closed_by_server: Closings
    reset: int
    resets: tuple[Outcome, ...]
    late_resets: tuple[Outcome, ...]
    lost: tuple[Outcome, ...]
    syn_retransmitted: int
    connect_p50_seconds: float | None
    connect_p99_seconds: float | None

    @property
    def connections(self) -> int:
        """How many there were, as far as known, those that came to nothing among them."""
        return max(self.opened or 0, self.ended) + self.failed

    @property
    def troubles(self) -> int:
        """How often something failed or had to be tried again."""
        return self.failed + self.reset + self.syn_retransmitted + sum(one.connections for one in self.lost)


def timeout_thresholds() -> Entry:
    """Where the limits of find_limit stand."""
    return catalogue()["keepalive-mismatch"]


def counts_of(pairs: Iterable[Pair]) -> Counts:
    """Of all these together."""
    own = [own_ends(pair) for pair in pairs]
    groups = [g for pair in own for g in pair.seen]
    outcomes = list(_outcomes(groups))
    resets = [one for one in outcomes if one.ending in RESETS and cuts(one)]
    failed = [one for one in outcomes if one.ending not in RESETS and one.state == "syn-sent"]
    opened = [g for g in groups if g.ending == "opened"]
    return Counts(
        opened=_sum(opened) if any(g.role == "initiated" for g in groups) else None,
        ended=_sum(g for g in groups if g.ending in FIRST_ENDINGS and g.state == "established"),
        failed=sum(one.connections for one in failed),
        failed_connects=tuple(failed),
        closed_by_client=closed_by_client(groups),
        closed_by_server=closed_by_server(own),
        reset=sum(one.connections for one in resets),
        resets=tuple(resets),
        late_resets=tuple(one for one in outcomes if one.ending in RESETS and not cuts(one)),
        lost=tuple(one for one in outcomes if one.ending not in RESETS and one.state != "syn-sent"),
        syn_retransmitted=_sum(g for g in groups if g.ending == "syn-retransmitted"),
        connect_p50_seconds=quantile(opened, _USUAL),
        connect_p99_seconds=quantile(opened, _SLOWEST),
    )


def cuts(reset: Outcome) -> bool:
    """Whether a reset hit a connection that was in use, or that was used again after the server had closed it."""
    match reset.seen_by, reset.ending:
        case "client", "reset-received":
            return reset.state in ("established", "close-wait")
        case "server", "late-data":
            return True
        case _, "late-data":
            return False
    return reset.state == "established"


def other_end(end: EndName) -> EndName:
    return "client" if end == "server" else "server"


def own_ends(pair: Pair) -> Pair:
    """The same without the accepting end where the connecting one is known: others may have connections among those,
    who ask the same server by another address, or from behind the same."""
    return replace(pair, there=()) if pair.here else pair


def closed_by_server(pairs: Iterable[Pair]) -> Closings:
    """A cluster only if one server closed them all."""
    entry = timeout_thresholds()
    return _closings([closes for closes in closes_of(pairs, entry).values() if closes.all], entry)


def closed_by_client(groups: Iterable[ConnectionGroup]) -> Closings:
    """The same for the other side: a pool that throws out what is idle has such a time too."""
    entry = timeout_thresholds()
    by_client = {"initiated": "closed-here", "accepted": "closed-by-peer"}
    mine = [g for g in groups if g.ending == by_client[g.role]]
    spans, shortest = timed(mine), entry.limit("min_timeout")
    idle = tuple(sorted((s for s in spans if s.mean >= shortest), key=lambda s: s.mean))
    closes = Closes(
        idle=idle,
        sooner=tuple(s for s in spans if s.mean < shortest),
        untimed=_sum(g for g in mine if not g.spans),
        farewells=sum_of(s for s in timed(g for g in mine if g.last_word) if s.mean >= shortest),
    )
    return _closings([closes], entry)


def _closings(found: Sequence[Closes], entry: Entry) -> Closings:
    limit = find_limit(found[0], entry) if len(found) == 1 else None
    idle = sorted((span for closes in found for span in closes.idle), key=lambda s: s.mean)
    return Closings(
        connections=sum(closes.all for closes in found),
        at_once=sum(sum_of(closes.sooner) for closes in found),
        untimed=sum(closes.untimed for closes in found),
        idle_p50_seconds=middle(idle) if idle else None,
        cluster=None
        if limit is None
        else Cluster(
            seconds=limit.seconds,
            least_seconds=limit.least,
            most_seconds=limit.most,
            connections=limit.closes,
            of=limit.of,
            farewell=limit.farewell,
        ),
    )


def _outcomes(groups: Iterable[ConnectionGroup]) -> Iterable[Outcome]:
    """What went another way than to open and to close, the most frequent first."""
    found: defaultdict[tuple[Ending, str, EndName], list[ConnectionGroup]] = defaultdict(list)
    for g in groups:
        if g.ending not in _NO_OUTCOME:
            found[g.ending, g.state, "client" if g.role == "initiated" else "server"].append(g)
    for (ending, state, end), same in sorted(found.items(), key=lambda item: (-_sum(item[1]), item[0])):
        usual = quantile(same, _USUAL)
        if ending in _TAKES_TIME and state == "syn-sent" and usual is not None and usual < TICK_SECONDS:
            usual = None
        yield Outcome(ending=ending, state=state, seen_by=end, connections=_sum(same), p50_seconds=usual)


def quantile(groups: Sequence[ConnectionGroup], share: float) -> float | None:
    """Of the times of all of them; None if none has one."""
    spans = timed(groups)
    return replace(groups[0], spans=spans).quantile(share) if spans else None


def _sum(groups: Iterable[ConnectionGroup]) -> int:
    return sum(g.connections for g in groups)
