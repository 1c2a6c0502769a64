"""Who connects to whom, and how it ended: both ends of connections joined where both are on this node."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from whodunnet.model.connection_clients import Clients, Process, one_of, process_of
from whodunnet.model.connection_names import End, Names
from whodunnet.model.connection_window import ConnectionWindow, connection_window, identity, sum_spans
from whodunnet.model.connections import ConnectionGroup, Connections, Ending, EndRole, Span
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload

ByEnds = dict[tuple[Endpoint, str], list[ConnectionGroup]]
"""Groups of one role by server endpoint and address of the client."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One client and one server endpoint.

    client: without a process where several of one container are. processes: who each of them is, see `client_of`.
    server: as the client asked for it. server_end: who accepted.
    answered_by: the accepting endpoints where NAT leads to others, of those that are on this node or tracked.
    here: groups of the connecting end, empty where that is elsewhere; each connection is in here once.
    there: groups of the accepting end. Other clients behind the same address are among them.
    parts: endings at the connecting end (at the accepting one, where that is all there is) by part of the window.
    """

    client: End
    server: Endpoint
    server_end: End
    answered_by: tuple[Endpoint, ...] = ()
    here: tuple[ConnectionGroup, ...] = ()
    there: tuple[ConnectionGroup, ...] = ()
    parts: tuple[Counter[Ending], ...] = ()
    processes: dict[Process, End] = {}

    def client_of(self, groups: Iterable[ConnectionGroup]) -> End:
        """The client of some groups of the connecting end: with its process, if all of them are of one."""
        ends = [self.processes[process] for g in groups if (process := process_of(g)) in self.processes]
        return one_of(ends) if ends else self.client

    @property
    def seen(self) -> tuple[ConnectionGroup, ...]:
        """The connecting end's groups; the accepting end's where only that is on this node."""
        return self.here or self.there

    def count(self, *endings: Ending, state: str | None = None) -> int:
        """Connections (or SYNs, or resets) that ended so, at the end that is `seen`."""
        return sum(g.connections for g in self.seen if g.ending in endings and state in (None, g.state))

    def spans(self, *endings: Ending, state: str | None = None) -> tuple[Span, ...]:
        """Their times by class."""
        return sum_spans(s for g in self.seen if g.ending in endings and state in (None, g.state) for s in g.spans)


def one_server_of(pairs: Iterable[Pair]) -> Workload | None:
    """Who accepts; None where these pairs do not agree."""
    ends = {pair.server_end.key: pair.server_end.workload for pair in pairs}
    return next(iter(ends.values())) if len(ends) == 1 else None


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """All pairs of a window, most connections first."""

    window: ConnectionWindow
    pairs: tuple[Pair, ...]


def pairs_of(recording: Recording) -> Pairs | None:
    """None where connections were not read."""
    window = connection_window(recording)
    if window is None:
        return None
    names = Names(recording)
    translations = _translations(recording)
    accepted, asking = _by_ends("accepted", window), _by_ends("initiated", window)
    parts = [{identity(g): g.connections for g in part.groups} for part in window.parts]
    clients = Clients(_all_groups(recording, window), names)
    found, joined = [], set[ConnectionGroup]()
    for client, server, here, processes in _by_pair(_of_role("initiated", window), clients):
        places = translations.get(server, (server,))
        there = _other_ends(here, places, accepted, asking)
        joined.update(there)
        found.append(
            Pair(
                client=client,
                server=server,
                server_end=names.server_of(there, places, client.netns, here),
                answered_by=tuple(place for place in places if place != server),
                here=tuple(here),
                there=tuple(there),
                parts=tuple(_endings(here, part) for part in parts),
                processes=processes,
            )
        )
    alone = [g for g in _of_role("accepted", window) if g not in joined]
    for client, server, there, _ in _by_pair(alone, clients):
        found.append(
            Pair(
                client=client,
                server=server,
                server_end=names.server_of(there, (server,), None),
                there=tuple(there),
                parts=tuple(_endings(there, part) for part in parts),
            )
        )
    return Pairs(window=window, pairs=tuple(sorted(found, key=lambda p: -sum(g.connections for g in p.seen))))


def _all_groups(recording: Recording, window: ConnectionWindow) -> tuple[ConnectionGroup, ...]:
    """Also those that did not grow: processes that are gone by now."""
    last = recording.last(Connections)
    return (*window.total.groups, *(last.groups if last is not None else ()))


def _of_role(role: EndRole, window: ConnectionWindow) -> list[ConnectionGroup]:
    return [g for g in window.total.groups if g.role == role]


def _by_ends(role: EndRole, window: ConnectionWindow) -> ByEnds:
    found: ByEnds = defaultdict(list)
    for g in _of_role(role, window):
        if g.client is not None:
            found[g.server, g.client].append(g)
    return found


def _other_ends(
    here: Iterable[ConnectionGroup], places: Iterable[Endpoint], accepted: ByEnds, asking: ByEnds
) -> list[ConnectionGroup]:
    """Groups of the accepting end of the same connections; places: where the endpoint that was asked for leads to.

    Loopback stays in its namespace. So does all else where several namespaces use the same addresses: networks that
    do not know of each other may.
    """
    found: dict[ConnectionGroup, None] = {}
    for server, address in dict.fromkeys((g.server, g.client) for g in here if g.client is not None):
        shared = len({g.netns for g in asking[server, address]}) > 1 or is_loopback(address)
        for place in places:
            for there in accepted.get((place, address), ()):
                if not shared or there.netns in {g.netns for g in here}:
                    found[there] = None
    return list(found)


def _by_pair(
    groups: Sequence[ConnectionGroup], clients: Clients
) -> list[tuple[End, Endpoint, list[ConnectionGroup], dict[Process, End]]]:
    """Groups of each client with each server, whatever its address: what was merged has none."""
    found: dict[tuple[str, int | None, Endpoint], list[tuple[End, ConnectionGroup]]] = {}
    for g, client in zip(groups, clients.of(groups), strict=True):
        found.setdefault((client.key, client.netns, g.server), []).append((client, g))
    return [
        (
            one_of(client for client, _ in members),
            server,
            [g for _, g in members],
            {process_of(g): client for client, g in members},
        )
        for (*_, server), members in found.items()
    ]


def _endings(groups: Iterable[ConnectionGroup], part: Mapping[ConnectionGroup, int]) -> Counter[Ending]:
    """Of these groups, what came in one part of the window."""
    found: Counter[Ending] = Counter()
    for g in groups:
        found[g.ending] += part.get(identity(g), 0)
    return found


def _translations(recording: Recording) -> dict[Endpoint, tuple[Endpoint, ...]]:
    """Where endpoints that were asked for lead to, as far as tracked."""
    found: dict[Endpoint, dict[Endpoint, None]] = {}
    for _, table in recording.series(Conntrack):
        for g in table.groups:
            if g.protocol == "tcp" and g.destination is not None and g.answered_by is not None and not g.merged:
                found.setdefault(g.destination, {})[g.answered_by] = None
    return {asked: tuple(answered) for asked, answered in found.items()}
