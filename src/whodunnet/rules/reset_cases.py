"""Connections that ended by a reset, endpoint by endpoint: how many of how many, and which end sent it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connection_parts import Course, Parts, added
from whodunnet.rules.connection_sight import ungrouped
from whodunnet.rules.reset_cuts import (
    RESETTING,
    Counted,
    Cut,
    cut_of,
    explained,
    in_its_name,
    open_ends,
    outlived,
    quicker,
    together,
)

MOST = 0.5
"""A server is named if its end has at least this share of what its clients count."""


class Place(NamedTuple):
    """An endpoint; netns: of a loopback address, which is another one in each namespace."""

    endpoint: Endpoint
    netns: int | None


class ResetCase(msgspec.Struct, frozen=True, kw_only=True):
    """All clients of one endpoint that are cut. n, ended: resets, and connections that ended, of these clients.

    sent, crossed: of the accepting ends' groups, those that were reset by their own process, and those that
    received a reset themselves. by_server: of n, how many at least its own process sent; unsure: whether it may be
    more, because others who reach the same ends by another endpoint may have received them. server_seen: whether
    these ends are on this node. late: resets by the accepting end to what came after its close. unheard: of n,
    where it had closed without a byte. lasting: whether readings are enough to say that it goes on. waited: of n,
    those after a pause. outlived: ends of the server that were open still.
    """

    shape: str
    endpoint: Endpoint
    netns: int | None
    cuts: tuple[tuple[Pair, int, int], ...]
    n: int
    ended: int
    per_second: float
    parts: tuple[int, ...]
    lasting: bool
    paused: int = 0
    sent: tuple[ConnectionGroup, ...] = ()
    crossed: int = 0
    by_server: int = 0
    unsure: bool = False
    server_seen: bool = False
    late: int = 0
    unheard: int = 0
    waited: int = 0
    outlived: int = 0

    @property
    def share(self) -> float:
        return self.n / max(self.ended, 1)

    @property
    def refuses(self) -> bool:
        """Whether a server closes on who has asked and never got a byte: no farewell meets such a close."""
        return self.unheard >= MOST * self.n

    @property
    def unanswered(self) -> int:
        """Resets of those who had asked and got no byte of an answer, by the end that is seen; also after a pause."""
        return sum(
            span.connections
            for pair in self.clients
            for g in open_ends(pair.seen)
            if g.unanswered and g.ending == ("reset-received" if pair.here else "reset-sent")
            for span in g.spans
        )

    @property
    def clients(self) -> list[Pair]:
        """Who is cut, most first, with whom they are judged together."""
        return [pair for pair, _, _ in self.cuts]


def find_resets(pairs: Pairs, cuts: Sequence[Cut], entry: Entry) -> list[ResetCase]:
    """Cases above rate and share that last: those that hurt first, then most resets."""
    by_place: dict[Place, list[Cut]] = {}
    for cut in cuts:
        netns = cut.pair.client.netns if is_loopback(cut.pair.server.address or "") else None
        by_place.setdefault(Place(cut.pair.server, netns), []).append(cut)
    sight, found = _Sight(pairs, by_place, entry), []
    for place, those in by_place.items():
        case = sight.find(place, those)
        if case is not None:
            found.append(case)
    return sorted(found, key=lambda c: (c.shape == "client-aborts", -c.n, c.endpoint.port or 0))


class _There(NamedTuple):
    """What the accepting ends of one endpoint have of these clients. closed_soon: after data had just moved."""

    ended: int
    sent: tuple[ConnectionGroup, ...]
    received: int
    closed_soon: int
    late: int


class _Sight:
    """The window in which cases are looked for."""

    def __init__(self, pairs: Pairs, by_place: Mapping[Place, Sequence[Cut]], entry: Entry) -> None:
        self._seconds = pairs.window.total.watched_seconds or pairs.window.seconds
        self._course = Course(pairs.window, entry)
        self._lost = ungrouped(pairs, *RESETTING)
        self._entry = entry
        self._reached: dict[ConnectionGroup, list[tuple[Place, Cut]]] = {}
        for place, those in by_place.items():
            for cut in (c for c in those if c.pair.here):
                for g in cut.pair.there:
                    self._reached.setdefault(g, []).append((place, cut))

    def find(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """What hurts most at this endpoint; else that its clients break off."""
        ways = [self.cut, self.closed_early]
        if sum(c.early for c in those) > sum(c.received + c.paused for c in those):
            ways.reverse()
        found = (way(place, those) for way in (*ways, self.in_their_name, self.forgotten, self.aborted))
        return next((case for case in found if case is not None), None)

    def cut(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """Clients whose connections are cut while they are open."""
        there = self._there(cut.pair for cut in those)
        # A server that cuts at once what has just moved data does not end idle connections.
        asked = sum(c.received + c.paused for c in those if c.pair.here)
        whole = quicker(there.sent, self._entry.limit("at_once")) >= MOST * asked > 0

        def count(cut: Cut) -> int:
            return cut.received + (cut.paused if whole and cut.pair.here else 0)

        case = self._case(place, those, count, self._entry.limit("min_share"))
        if case is None:
            return None
        others = sum(c.received + c.paused for c in those) - sum(g.connections for g in there.sent)
        elsewhere = sum(c.received + c.paused for c in self._by_another_way(place, there.sent))
        alone, sure = (max(case.n - max(n, 0), 0) for n in (others, others + elsewhere))
        case = msgspec.structs.replace(
            case,
            sent=there.sent,
            crossed=there.received,
            by_server=sure,
            unsure=alone >= MOST * case.n > sure,
            server_seen=self._ended_there(place, case) >= MOST * case.ended,
            paused=sum(c.received + c.paused - count(c) for c in those),
        )
        return msgspec.structs.replace(case, shape=_by_sender(case))

    def closed_early(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """Clients that still send when the server has closed. A close after a pause is for keepalive-mismatch."""
        case = self._case(place, those, lambda cut: cut.early, self._entry.limit("min_share"))
        if case is None:
            return None
        there = self._there(case.clients)
        seen = self._ended_there(place, case) >= MOST * case.ended
        if seen and there.closed_soon < MOST * case.n:
            return None
        unheard = sum(cut.unheard for cut in those if cut.pair in case.clients)
        return msgspec.structs.replace(case, shape="closed-early", server_seen=seen, late=there.late, unheard=unheard)

    def in_their_name(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """Clients whose server receives resets that they have not sent: they only see that no answer comes."""
        pairs = [cut.pair for cut in those if cut.pair.here]
        if self._lost or any(g.client is None or pair.client.address is None for pair in pairs for g in pair.here):
            return None
        units = [in_its_name(pair) for pair in together(pairs)]
        case = self._case(place, units, lambda cut: cut.received, self._entry.limit("min_share"), in_its_name)
        if case is None:
            return None
        there = self._there(case.clients)
        return msgspec.structs.replace(
            case, shape="reset-between", sent=there.sent, crossed=there.received, server_seen=True
        )

    def forgotten(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """Clients whose next request is answered by a reset, also after a pause, while the server's end stays open."""
        here = [cut for cut in those if cut.pair.here]
        case = self._case(place, here, lambda cut: cut.received + cut.asked, self._entry.limit("min_share"))
        if case is None or self._lost:
            return None
        groups = {g for pair in case.clients for g in pair.there}
        others = self._by_another_way(place, groups)
        left = outlived(groups) - explained(here, others)
        if any(g.ending in RESETTING for g in open_ends(groups)) or left < MOST * case.n:
            return None
        return msgspec.structs.replace(
            case,
            shape="reset-between",
            crossed=self._there(case.clients).received,
            server_seen=True,
            waited=sum(cut.asked for cut in here if cut.pair in case.clients),
            outlived=left,
        )

    def aborted(self, place: Place, those: Sequence[Cut]) -> ResetCase | None:
        """Clients that reset most of their connections themselves."""
        case = self._case(place, those, lambda cut: cut.aborted, self._entry.limit("abort_share"))
        return None if case is None else msgspec.structs.replace(case, shape="client-aborts")

    def _ended_there(self, place: Place, case: ResetCase) -> int:
        """How many connections of these clients the accepting ends count, less what came to them by another way."""
        groups = [g for pair in case.clients for g in pair.there]
        elsewhere = sum(c.ended for c in self._by_another_way(place, groups))
        return self._there(case.clients).ended - elsewhere

    def _by_another_way(self, place: Place, groups: Iterable[ConnectionGroup]) -> list[Cut]:
        """Who reached these accepting ends too, but asked for another endpoint: a Service, say."""
        found = (item for g in groups for item in self._reached.get(g, ()))
        return list({id(cut): cut for where, cut in found if where != place}.values())

    def _there(self, pairs: Iterable[Pair]) -> _There:
        groups = tuple(dict.fromkeys(g for pair in pairs for g in pair.there))
        opened = open_ends(groups)
        closed = (g for g in opened if g.ending == "closed-here")
        return _There(
            ended=sum(g.connections for g in opened),
            sent=tuple(g for g in opened if g.ending == "reset-sent"),
            received=sum(g.connections for g in opened if g.ending == "reset-received"),
            closed_soon=quicker(closed, self._entry.limit("pause")),
            late=sum(g.connections for g in groups if g.ending == "late-data"),
        )

    def _case(
        self,
        place: Place,
        those: Sequence[Cut],
        count: Counted,
        share: float,
        read: Callable[[Pair], Cut] | None = None,
    ) -> ResetCase | None:
        """None below the thresholds. read: what these were made by, if not cut_of."""
        read = read or (lambda pair: cut_of(pair, self._entry))
        failing = self._failing(those, count, share)
        n = sum(map(count, failing))
        per_second = n / self._seconds if self._seconds > 0 else 0.0
        if n < self._entry.limit("min_resets") or per_second < self._entry.limit("min_rate"):
            return None

        def by_part(parts: Parts) -> tuple[tuple[int, ...], tuple[int, ...]]:
            rows = [[read(part) for part in _parts_of(c.pair, parts)] for c in failing]
            return added([list(map(count, row)) for row in rows]), added([[cut.ended for cut in row] for row in rows])

        lasting = self._course.lasting(by_part)
        if lasting is None:
            return None
        cuts = sorted(((c.pair, count(c), c.ended) for c in failing), key=_most_first)
        return ResetCase(
            shape="", endpoint=place.endpoint, netns=place.netns, n=n, ended=sum(c.ended for c in failing),
            cuts=tuple(cuts), per_second=per_second, parts=lasting.parts, lasting=lasting.sure,
        )  # fmt: skip

    def _failing(self, those: Sequence[Cut], count: Counted, share: float) -> list[Cut]:
        """Who has too few connections to tell the share from chance is judged together with all others who have."""
        least = self._entry.limit("min_resets")
        found = [c for c in those if count(c) >= max(least, share * c.ended)]
        few = [c for c in those if c.ended and count(c) < least and share * c.ended < least]
        together = sum(map(count, few))
        return found + few if together and together >= share * sum(c.ended for c in few) else found


def _parts_of(pair: Pair, parts: Parts) -> list[Pair]:
    """With what both ends had in each part; in one without this client nothing of others at its address."""
    seen, there = parts.of(pair), parts.of(msgspec.structs.replace(pair, here=()))
    ends = zip(seen, there, strict=True)
    return [msgspec.structs.replace(s, there=t.there if s.here or not pair.here else ()) for s, t in ends]


def _by_sender(case: ResetCase) -> str:
    """Who reset: the accepting process, or somebody in between if that is on this node and did not."""
    if case.by_server >= MOST * case.n:
        return "server-resets"
    return "reset-between" if case.server_seen and not case.unsure else "peer-resets"


def _most_first(item: tuple[Pair, int, int]) -> tuple[int, int, int]:
    """Among equals by numbers, which stay the same in a redacted recording."""
    pair, n, _ = item
    process = pair.client.workload.process if pair.client.workload else None
    return -n, pair.client.netns or 0, process.pid if process else 0
