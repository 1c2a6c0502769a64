"""Who else asks the same endpoints, and where a client is answered: indexes over all tries of a window."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.connect_tries import Tries

Place = tuple[Endpoint, int | None]
"""What is asked for; an address of a loopback is another one in each namespace."""
Client = tuple[str, int | None]
Failed = Callable[[Tries], int]


def place_of_pair(pair: Pair) -> Place:
    return pair.server, pair.client.netns if is_loopback(pair.server.address or "") else None


def client_of_pair(pair: Pair) -> Client:
    return pair.client.key, pair.client.netns


def by_place(tries: Iterable[Tries]) -> dict[Place, list[Tries]]:
    found: dict[Place, list[Tries]] = {}
    for t in tries:
        found.setdefault(place_of_pair(t.pair), []).append(t)
    return found


class Others:
    """All tries of a window, by place and by client."""

    def __init__(self, pairs: Pairs, tries: Sequence[Tries], failed: Failed) -> None:
        self._failing: dict[Place, set[Client]] = {}
        self._served: dict[Place, list[tuple[Pair, int]]] = {}
        self._reached: dict[Client, set[Place]] = {}
        for t in tries:
            place, client = place_of_pair(t.pair), client_of_pair(t.pair)
            if failed(t):
                self._failing.setdefault(place, set()).add(client)
            elif t.opened:
                self._served.setdefault(place, []).append((t.pair, t.opened))
            if t.opened:
                self._reached.setdefault(client, set()).add(place)
        for pair in pairs.pairs:
            if not pair.here and (n := pair.count("closed-here", "closed-by-peer")):
                self._served.setdefault(place_of_pair(pair), []).append((pair, n))

    def served(self, those: Sequence[Tries]) -> tuple[tuple[Pair, int], ...]:
        """Other clients of their endpoint, all of whose connects are answered; of far ones those that ended."""
        failing = {id(t.pair) for t in those}
        found = [(p, n) for p, n in self._served.get(place_of_pair(those[0].pair), ()) if id(p) not in failing]
        return tuple(sorted(found, key=lambda item: -item[1]))

    def is_at_own_end(self, those: Sequence[Tries]) -> bool:
        """Whether what one client fails at has nothing in common but this client.

        Others are answered at half of the places or more; or nobody else fails at any, nothing else answers this
        client, and the ports are several: those of one Deployment, or of a machine that is gone, fail as well.
        """
        client, places = client_of_pair(those[0].pair), {place_of_pair(t.pair) for t in those}
        if 2 * sum(self._is_served(place, client) for place in places) >= len(places):
            return True
        alone = not any(self._failing[place] - {client} for place in places if place in self._failing)
        return alone and not self._reached.get(client, set()) - places and _has_several_ports(places)

    def _is_served(self, place: Place, client: Client) -> bool:
        return any(client_of_pair(pair) != client for pair, _ in self._served.get(place, ()))


def _has_several_ports(places: Collection[Place]) -> bool:
    return len({endpoint.port for endpoint, _ in places}) > 1
