"""Who has handed a close on, as a proxy does, and keeps both connections until the far side closes too."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads, owner_key
from whodunnet.rules.leak_shapes import Sign, Signs
from whodunnet.rules.tally import Candidate, Tally

SHAPE: Final = "close-handed-on"
HANDED_ON_SHARE: Final = 0.8
"""Of the connections that were closed towards it: so many it has closed towards others, and they come and go."""


def half_closed(sockets: Sockets, workloads: Workloads) -> dict[str, Tally]:
    """By owner, connections that it has open and has closed its half of, and the other side has not closed its own."""
    found: dict[str, Tally] = {}
    for g in sockets.groups:
        if g.protocol == "tcp" and g.state == "fin-wait-2" and g.holding == "descriptor" and g.owner_pid is not None:
            key = owner_key(g.owner_pid, workloads.by_pid.get(g.owner_pid))
            found.setdefault(key, Tally()).add(g)
    return found


def is_handed_on(c: Candidate, waits: Tally | None) -> bool:
    """waits: what half_closed() has of its owner."""
    return c.shape == "close-forgotten" and waits is not None and waits.sockets >= HANDED_ON_SHARE * c.last.sockets


def as_handed_on(signs: Signs, waits: Tally) -> Signs:
    more = Sign("Connections whose own half it has closed, and not yet the other side (FIN_WAIT2)", waits.sockets)
    return replace(signs, shape=SHAPE, signs=[*signs.signs, more])


def is_before(waits: Tally, other: Candidate) -> bool:
    """Whether it waits for that one: the port of a server is the same from both sides."""
    ports = {endpoint.port for endpoint in waits.endpoints} - {None}
    return any(endpoint.port in ports for endpoint in other.last.endpoints)
