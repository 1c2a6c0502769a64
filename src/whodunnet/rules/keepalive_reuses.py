"""What became of connections that a client used again after a pause: closed by then, or forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from whodunnet.model.connection_clients import one_of
from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.connections import ConnectionGroup, Ending, Span
from whodunnet.model.finding import Confidence
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.idle_timeouts import Closes, Limit, Place, closes_of, find_limit, middle, place_of, sum_of, timed
from whodunnet.rules.reset_cuts import RESETTING

TOO_LATE = "reused-too-late"
ON_THE_WAY = "forgotten-on-the-way"
UNEVEN = "closed-unevenly"
UNSEEN = "client-out-of-sight"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """All pairs of one client with one server. closes: of the server, to all its clients."""

    end: End
    place: Place
    pairs: tuple[Pair, ...]
    closes: Closes
    limit: Limit | None

    @property
    def server(self) -> Endpoint:
        return self.place[0]

    @property
    def server_here(self) -> bool:
        return any(p.there or p.server_end.local for p in self.pairs)

    @property
    def server_elsewhere(self) -> bool:
        """Known to be: what answers in the place of a server of this node (a sidecar) may be on it as well."""
        return all(p.server_end.local is False for p in self.pairs)

    @property
    def seen_here(self) -> bool:
        """Whether its own end is on this node."""
        return any(p.here for p in self.pairs)

    def here(self, ending: Ending, state: str = "established") -> tuple[Span, ...]:
        """Times at its own end."""
        return timed(g for p in self.pairs for g in p.here if (g.ending, g.state) == (ending, state))

    @property
    def asked(self) -> tuple[Span, ...]:
        """Times of what it wrote after the server's close, where that is known to be a request and no farewell."""
        reset = ("reset-received", "close-wait")
        return timed(g for p in self.pairs for g in p.here if (g.ending, g.state) == reset and g.asked)

    def there(self, *endings: Ending) -> list[ConnectionGroup]:
        """Groups of the server's end, with all clients behind the same address."""
        found = (g for p in self.pairs for g in p.there if g.ending in endings)
        return list(dict.fromkeys(found))

    def reset_in(self, states: Collection[str]) -> End:
        """Whose connections were reset in one of these states; the client, where its own end was not seen."""
        hit = [[g for g in p.here if g.ending == "reset-received" and g.state in states] for p in self.pairs]
        ends = [p.client_of(groups) for p, groups in zip(self.pairs, hit, strict=True) if groups]
        return one_of(ends) if ends else self.end

    def lasts(self, ending: Ending) -> int:
        """In how many parts of the window something of it ended so."""
        parts: set[int] = set()
        for pair in self.pairs:
            parts.update(i for i, endings in enumerate(pair.parts) if endings[ending])
        return len(parts)


class Reuse(msgspec.Struct, frozen=True, kw_only=True):
    """A client whose connections were used too late. idle: how long they had been, by class; beyond those, `crossed`.

    crossed: writes that met the server's close on the way: of these the time is that of the limit.
    at_once: whether all came right after the close, as a farewell does that answers it. asked: whether all are known to
    be requests, although the server says farewell.
    """

    client: Client
    shape: str
    confidence: Confidence
    idle: tuple[Span, ...]
    crossed: int = 0
    at_once: bool = False
    asked: bool = False

    @property
    def failed(self) -> int:
        return sum_of(self.idle) + self.crossed

    @property
    def end(self) -> End:
        """Who used them: with its process, if it was one."""
        states = {"established"} if self.shape == ON_THE_WAY else {"close-wait"}
        return self.client.reset_in(states | {"established", "last-ack"} if self.crossed else states)


def clients_of(found: Pairs, entry: Entry) -> list[Client]:
    """Every client with every server endpoint it was seen with."""
    closes = closes_of(found.pairs, entry)
    limits = {place: find_limit(those, entry) for place, those in closes.items()}
    together: dict[tuple[str, Place], list[Pair]] = {}
    for pair in found.pairs:
        together.setdefault((pair.client.key, place_of(pair)), []).append(pair)
    return [
        Client(
            end=next((p.client for p in pairs if p.client.address is not None), pairs[0].client),
            place=place,
            pairs=tuple(pairs),
            closes=closes[place],
            limit=limits[place],
        )
        for (_, place), pairs in together.items()
    ]


def find_reuses(found: Pairs, entry: Entry) -> list[Reuse]:
    """Surest first, then by number."""
    clients = clients_of(found, entry)
    reuses = [r for client in clients if client.seen_here and (r := _of_client(client, found, entry)) is not None]
    explained = {r.client.place for r in reuses}
    for client in clients:
        if not client.seen_here and client.place not in explained:
            late = _out_of_sight(client, entry)
            reuses += [late] if late is not None else []
    return sorted(reuses, key=lambda r: (("proven", "likely", "possible").index(r.confidence), -r.failed))


def _of_client(client: Client, found: Pairs, entry: Entry) -> Reuse | None:
    return _too_late(client, entry) or _on_the_way(client, found, entry) or _uneven(client, entry)


def _too_late(client: Client, entry: Entry) -> Reuse | None:
    """Written to after the server had closed, and later than it always does."""
    limit = client.limit
    if limit is None:
        return None
    late = after_close(client, entry)
    crossed = _crossed(client, limit, entry)
    if not sum_of(late) + crossed:
        return None
    asked = bool(requests(client, limit, entry))
    beyond = sum_of(s for s in late if asked or s.mean > limit.most + entry.limit("clock_tolerance"))
    return Reuse(
        client=client, shape=TOO_LATE, confidence=_confidence(client, limit, beyond, crossed, asked, entry), idle=late,
        crossed=crossed, asked=asked, at_once=not beyond + crossed,
    )  # fmt: skip


def _confidence(client: Client, limit: Limit, beyond: int, crossed: int, asked: bool, entry: Entry) -> Confidence:
    """beyond: writes that are not merely a farewell which answers the server's close."""
    least = entry.limit("min_failures")
    if beyond + crossed < least or (limit.farewell and not asked and not client.server_elsewhere):
        return "possible"
    known = client.end.workload is not None and not client.end.several
    return "proven" if beyond >= least and not limit.farewell and known else "likely"


def after_close(client: Client, entry: Entry) -> tuple[Span, ...]:
    """Writes that a reset answered after the server's close, by how long it had been quiet before them.

    A farewell that answers the server's farewell (TLS) comes at once, and is none.
    """
    limit = client.limit
    if limit is None:
        return ()
    if asked := requests(client, limit, entry):
        return asked
    since = limit.least - entry.limit("clock_tolerance")
    if limit.farewell:
        since = limit.most + entry.limit("farewell")
    return tuple(s for s in client.here("reset-received", "close-wait") if s.mean >= since)


def requests(client: Client, limit: Limit, entry: Entry) -> tuple[Span, ...]:
    """Those of the writes that are known to be requests, of a server that says farewell, if it is more than chance."""
    since = limit.least - entry.limit("clock_tolerance")
    asked = tuple(s for s in client.asked if limit.farewell and s.mean >= since)
    return asked if sum_of(asked) >= entry.limit("min_failures") else ()


def _crossed(client: Client, limit: Limit, entry: Entry) -> int:
    """Writes on the way while the server closed: the reset then comes right after the close, or instead of it.

    A close in the middle of an exchange looks the same at the client's end, so the server's has to be seen.
    """
    sent = sum(g.connections for g in client.there("reset-sent") if g.state == "established")
    closed = client.there("closed-here")
    shortest = entry.limit("min_timeout")
    crossed = 0
    if closed and not limit.farewell:
        quick = sum_of(s for s in timed(closed) if s.mean < shortest) + sum(
            g.connections for g in closed if not g.spans
        )
        met = sum_of(s for s in client.here("reset-received", "close-wait") if s.mean < shortest)
        crossed += max(met - quick - sent, 0)
    near, far = limit.least - entry.limit("clock_tolerance"), limit.most + entry.limit("cluster_width")
    instead = sum_of(s for s in client.here("reset-received") if near <= s.mean <= far)
    return crossed + min(instead, sent) + _taken_for_an_answer(client, limit, entry)


def _taken_for_an_answer(client: Client, limit: Limit, entry: Entry) -> int:
    """Writes made before the close could arrive, by a client that read it in place of an answer and closed as well.

    Over a long way the reset meets it only then. What answers a close (a farewell, its own close) is never so early;
    and the server's end has to have reset as much data, for a bare close may be answered by a reset, too.
    """
    if limit.farewell:
        return 0
    opened, tolerance = client.here("opened"), entry.limit("clock_tolerance")
    there_and_back = middle(opened) if opened else 0.0
    soonest, arrives = limit.least - there_and_back - tolerance, limit.least - tolerance
    wrote = sum_of(s for s in client.here("reset-received", "last-ack") if soonest <= s.mean < arrives)
    return min(wrote, sum(g.connections for g in client.there("late-data") if g.state == "close"))


def _on_the_way(client: Client, found: Pairs, entry: Entry) -> Reuse | None:
    """No close at all, and reset all the same, but only after a pause: something in between has forgotten them."""
    resets = client.here("reset-received")
    quiet = tuple(s for s in resets if s.mean >= entry.limit("min_quiet"))
    n = sum_of(quiet)
    if n < entry.limit("min_forgotten") or n < entry.limit("quiet_majority") * sum_of(resets):
        return None
    if client.limit is not None and client.limit.least <= quiet[0].mean:
        return None
    if client.lasts("reset-received") < entry.limit("min_parts") or _server_resets(client.server, found):
        return None
    translated = any(p.answered_by for p in client.pairs)
    if client.server_here and not translated and not found.window.total.other.get("reset-sent"):
        return Reuse(client=client, shape=ON_THE_WAY, confidence="likely", idle=quiet)
    # A server out of sight that resets what is idle has a timer: its times would be alike.
    if quiet[-1].mean - quiet[0].mean <= entry.limit("cluster_width"):
        return None
    # What is cut at any moment was idle for any time; what is forgotten, never for less than so long.
    edge = quiet[0].mean >= entry.limit("edge_share") * middle(quiet) and n >= entry.limit("min_far")
    return Reuse(client=client, shape=ON_THE_WAY, confidence="likely" if edge else "possible", idle=quiet)


def _server_resets(server: Endpoint, found: Pairs) -> bool:
    """Whether the server's own end was seen to end a connection, with anybody, in a way that sends a reset."""
    return any(
        g.role == "accepted" and g.server == server and g.state == "established" and g.ending in RESETTING
        for g in found.window.total.groups
    )


def _uneven(client: Client, entry: Entry) -> Reuse | None:
    """Written to after the server had closed, which it does after no time of its own; a restart is over at once."""
    farewells = 2 * client.closes.farewells >= sum_of(client.closes.idle)
    after = client.asked if farewells else client.here("reset-received", "close-wait")
    idle = tuple(s for s in after if s.mean >= entry.limit("min_timeout"))
    if sum_of(idle) < entry.limit("min_forgotten") or client.lasts("reset-received") < entry.limit("min_parts"):
        return None
    return Reuse(client=client, shape=UNEVEN, confidence="possible", idle=idle)


def _out_of_sight(client: Client, entry: Entry) -> Reuse | None:
    """Data that came after the server's closes, from a client elsewhere; not where closes may have cut an exchange."""
    limit = client.limit
    if limit is None or limit.farewell or client.end.address is None:
        return None
    closed, late = client.there("closed-here", "reset-sent"), client.there("late-data")
    quick = sum_of(s for s in timed(closed) if s.mean < entry.limit("min_timeout"))
    quick += sum(g.connections for g in closed if not g.spans)
    resets = sum(g.connections for g in late)
    if resets - quick < entry.limit("min_forgotten"):
        return None
    return Reuse(client=client, shape=UNSEEN, confidence="possible", idle=(), crossed=resets)


def writes_after_close(clients: Iterable[Client]) -> int:
    """All resets that answered a write after the server's close, whatever the time."""
    return sum(
        g.connections
        for client in clients
        for pair in client.pairs
        for g in pair.here
        if (g.ending, g.state) == ("reset-received", "close-wait")
    )
