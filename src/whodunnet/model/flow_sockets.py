"""What sockets tell of who opened connections: how many each owner has to each destination, and who listens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.vouching import OPENING, Destination, Sides
from whodunnet.model.workload import Process, Workload, owner_key

Opened = dict[tuple[int, str, Endpoint, str], int]
"""Sockets by destination and key of their owner."""
KeyOf = Callable[[int, int], str]
"""From pid and network namespace to the key of an owner."""


def _is_connection(g: SocketGroup) -> bool:
    """Or will be one, once somebody has answered. Listeners are none."""
    return g.protocol == "tcp" and g.role in ("initiated", "accepted")


def connections_of(sample: Sockets, key_of: KeyOf) -> dict[tuple[int | None, str | None], list[SocketGroup]]:
    """Groups of TCP connections by namespace and key of their owner; without a key those of all."""
    found: dict[tuple[int | None, str | None], list[SocketGroup]] = defaultdict(list)
    for g in sample.groups:
        if g.netns is not None and _is_connection(g):
            found[g.netns, None].append(g)
            if g.owner_pid is not None:
                found[g.netns, key_of(g.owner_pid, g.netns)].append(g)
    return dict(found)


def connected_to(sample: Sockets) -> set[Destination]:
    """What the sockets of each namespace lead to, also those that no process has open any more."""
    return {
        (g.netns, g.protocol, g.endpoint)
        for g in sample.groups
        if g.role == "initiated" and g.endpoint is not None and g.netns is not None and g.sockets > 0
    }


def _initiated(sample: Sockets, key_of: KeyOf) -> Iterator[tuple[Destination, str, SocketGroup]]:
    """Groups of sockets connected to a destination, with the key of their owner."""
    for g in sample.groups:
        if g.role != "initiated" or g.endpoint is None or g.netns is None or g.owner_pid is None:
            continue
        if g.sockets > 0:
            yield (g.netns, g.protocol, g.endpoint), key_of(g.owner_pid, g.netns), g


def opened_by(sample: Sockets, key_of: KeyOf, *, opening: bool = True) -> Opened:
    """Sockets connected to a destination in one reading. opening: also those that nobody has answered yet."""
    found: Opened = defaultdict(int)
    for to, key, g in _initiated(sample, key_of):
        if opening or g.state not in OPENING:
            found[*to, key] += g.sockets
    return found


def sides_of(sample: Sockets, key_of: KeyOf) -> dict[Destination, Sides]:
    """The same, with those apart that nobody has answered yet."""
    found: dict[Destination, Sides] = {}
    for to, key, g in _initiated(sample, key_of):
        side = found.setdefault(to, ({}, {}))[g.state in OPENING]
        side[key] = side.get(key, 0) + g.sockets
    return found


def by_destination(opened: Opened) -> dict[Destination, dict[str, int]]:
    """Owners and their sockets to each destination, in the order of their keys."""
    found: dict[Destination, dict[str, int]] = {}
    for (netns, protocol, endpoint, key), count in sorted(opened.items(), key=lambda item: item[0][-1]):
        found.setdefault((netns, protocol, endpoint), {})[key] = count
    return found


def listening_on(sample: Sockets, key_of: KeyOf) -> dict[tuple[int | None, int | None], tuple[str | None, ...]]:
    """Keys of all who listen on a port of a namespace, None among them for one who is not known."""
    found: dict[tuple[int | None, int | None], dict[str | None, None]] = {}
    for q in sample.accept_queues:
        key = key_of(q.owner_pid, q.netns) if q.owner_pid is not None else None
        found.setdefault((q.netns, q.local.port), {})[key] = None
    return {} if sample.listeners_cut else {place: tuple(keys) for place, keys in found.items()}


def keys_of(by_pid: Mapping[int, Workload]) -> KeyOf:
    """Keys of owners as these are known; each is made once."""

    @cache
    def key_of(pid: int, netns: int) -> str:
        return f"{owner_key(pid, by_pid.get(pid))} in {netns}"

    return key_of


def workload_of(pid: int, netns: int, by_pid: Mapping[int, Workload]) -> Workload:
    return by_pid.get(pid) or Workload(process=Process(pid=pid, comm=f"pid {pid}"), netns=netns)


def representatives_of(sample: Sockets, by_pid: Mapping[int, Workload], key_of: KeyOf) -> dict[str, Workload]:
    """A process for each key."""
    found: dict[str, Workload] = {}
    for pid, netns in dict.fromkeys((g.owner_pid, g.netns) for g in sample.groups):
        if pid is not None and netns is not None:
            found.setdefault(key_of(pid, netns), workload_of(pid, netns, by_pid))
    return found
