"""Of which tracked connections an open socket says whose they are, where several programs share an address.

Each socket speaks for one entry. Entries of one destination are often in several groups (a Service and who answers for
it): which of them a socket belongs to is not known, so the first ones are taken, and the sums are right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import Endpoint

OPENING = frozenset({"syn-sent", "syn-sent2"})
"""States, of entries and of sockets, in which nobody has answered yet."""

Destination = tuple[int, str, Endpoint]
"""Network namespace, protocol, and what its sockets are connected to."""
Sides = tuple[dict[str, int], dict[str, int]]
"""Sockets to one destination by key of their owner: those answered, and those still opening."""


def vouch(
    wanted: Sequence[tuple[FlowGroup, Destination]], sockets: dict[Destination, Sides]
) -> dict[FlowGroup, dict[str, int]]:
    """Entries by key of their owner, of groups with the destination they lead to.

    An entry goes to a socket that is answered as it is, since one owner may be connected and another not; only what
    is left then to one that is not: they were not read at the same moment.
    """
    left = {destination: tuple(dict(sorted(side.items())) for side in sides) for destination, sides in sockets.items()}
    found: dict[FlowGroup, dict[str, int]] = {}
    room = {group: group.entries for group, _ in wanted}
    for other_side in (False, True):
        for group, destination in wanted:
            if destination not in left or not room[group]:
                continue
            side = left[destination][(group.state in OPENING) != other_side]
            for key, n in _take(side, room[group]):
                mine = found.setdefault(group, {})
                mine[key] = mine.get(key, 0) + n
                room[group] -= n
    return found


def _take(side: dict[str, int], room: int) -> Iterator[tuple[str, int]]:
    """Take as many as there is room for."""
    for key in list(side):
        if not room:
            return
        n = min(side[key], room)
        room -= n
        side[key] -= n
        if not side[key]:
            del side[key]
        if n:
            yield key, n
