"""Who listens where it led to: what alone says why a connect is refused, or an address in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from whodunnet.model.connection_places import takes
from whodunnet.model.finding import Evidence
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Workloads
from whodunnet.rules.identity import short_name
from whodunnet.why.flow import Flow, Place

NOBODY = "nobody"
LISTED = 3
BY_NOBODY = frozenset({"refused", "connect-failed"})
BY_SOMEBODY = frozenset({"address-in-use"})
"""Kinds of errors that nobody, or somebody, who listens there makes."""


def listening(flow: Flow, recording: Recording) -> Evidence | None:
    """Who listens at the destination; None where that is not on this node, or not all listeners were read."""
    found, place = _found(flow, recording), flow.destination
    if found is None or place is None:
        return None
    at, queues = found
    return _evidence(place, _names(queues, recording.last(Workloads) or Workloads()), at)


def _found(flow: Flow, recording: Recording) -> tuple[Moment, list[AcceptQueue]] | None:
    """All listeners at the destination, as last read; None where that is not known."""
    place, readings = flow.destination, recording.series(Sockets)
    if place is None or place.side.port is None or not readings:
        return None
    at, sockets = readings[-1]
    if sockets.listeners_cut or sockets.netns_unread or not sockets.all_processes or not _is_searchable(place):
        return None
    ends = flow.endpoints & set(place.side.endpoints) or {Endpoint(None, place.side.port)}
    return at, [q for q in sockets.accept_queues if _takes_any(q, ends) and place.netns in (None, q.netns)]


def waiting(flow: Flow, recording: Recording) -> Evidence | None:
    """How many wait in the fullest accept queue of whoever listens there; None as `listening`, or if nobody does."""
    found, place = _found(flow, recording), flow.destination
    if not found or place is None:
        return None
    at, queues = found
    fullest = max(queues, key=lambda q: q.waiting - q.limit, default=None)
    if fullest is None:
        return None
    several = ", in the fullest queue of several" if len(queues) > 1 else ""
    return Evidence(
        statement=f"Connections in its accept queue at the end{several}",
        value=fullest.waiting,
        unit="connections",
        limit=fullest.limit,
        comparison=">" if fullest.waiting > fullest.limit else "of",
        source="sockets collector",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=f"ss -Hltn sport = {place.side.port}  # in its network namespace: Recv-Q of Send-Q",
    )


def is_sign(kind: str, who: Evidence) -> bool:
    """Whether that alone makes such an error."""
    return kind in (BY_NOBODY if who.value == NOBODY else BY_SOMEBODY)


def _is_searchable(place: Place) -> bool:
    """In one namespace that is known, or in all: of a loopback, and where no address was said."""
    anywhere = place.side.is_loopback or (place.side.address is None and place.side.name is None)
    return anywhere or place.netns is not None


def _takes_any(queue: AcceptQueue, ends: Iterable[Endpoint]) -> bool:
    return any(queue.local.port == end.port and takes(queue.local.address, end.address) for end in ends)


def _names(queues: Sequence[AcceptQueue], owners: Workloads) -> list[str]:
    return list(dict.fromkeys(_name(q, owners) for q in queues))


def _name(queue: AcceptQueue, owners: Workloads) -> str:
    pid = queue.owner_pid
    return short_name(owners.by_pid.get(pid) if pid is not None else None, pid)


def _evidence(place: Place, names: Sequence[str], at: Moment) -> Evidence:
    where = "" if place.netns is not None else ", in any network namespace"
    return Evidence(
        statement=f"Who listens on {place.side}{where}",
        value=", ".join(_listed(names)) or NOBODY,
        unit="",
        source="sockets collector",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=f"ss -Hltnp sport = {place.side.port}  # in its network namespace",
    )


def _listed(names: Sequence[str]) -> Iterator[str]:
    yield from names[:LISTED]
    if len(names) > LISTED:
        yield f"and {len(names) - LISTED} more"
