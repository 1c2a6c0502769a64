"""Sockets that wait for a name server: those that stay, and those that were closed while nothing came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from whodunnet.model.counter_window import CounterWindow
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.sample import Moment
from whodunnet.model.sockets import Endpoint, NameSocket, Sockets
from whodunnet.model.workload import Workload, Workloads

PORT: Final = 53
CAME: Final = (
    "Udp.InDatagrams", "Udp.NoPorts", "Udp.InErrors", "Icmp.InDestUnreachs",
    "Udp6.InDatagrams", "Udp6.NoPorts", "Udp6.InErrors", "Icmp6.InDestUnreachs",
)  # fmt: skip
"""What an answer or a refusal raises, also one for which nobody waits any more."""

Key = tuple[int, int, Endpoint]
Readings = Sequence[tuple[Moment, Sockets, Workloads | None]]


class Wait(NamedTuple):
    """A socket connected to a name server, that was there in two readings far enough apart.

    given_up: it was closed before the second one, while nothing at all came to its namespace. The C library gives
    up after 10 s, or as resolv.conf has it: between sparse readings all who wait may have begun anew.
    """

    socket: NameSocket
    owner: Workload | None
    given_up: bool = False


def find_waits(
    every: Readings, resolvers: Resolvers, counted: CounterWindow | None, least_seconds: float
) -> list[Wait]:
    """Those that stayed for so long; in namespaces to which nothing came for so long also those that are gone.

    every: readings of sockets with names, oldest first.
    """
    ours = {(lookup.netns, lookup.inode) for lookup in resolvers.lookups if lookup.inode}
    first: dict[Key, float] = {}
    last: dict[Key, float] = {}
    found: dict[Key, tuple[NameSocket, Workload | None]] = {}
    for at, sample, workloads in every:
        for socket, owner in _asking(sample, workloads):
            if socket.remote is not None and (socket.netns, socket.inode) not in ours:
                key = (socket.netns, socket.inode, socket.remote)
                first.setdefault(key, at.boot_seconds)
                last[key] = at.boot_seconds
                found[key] = socket, owner
    stayed = {key for key in found if last[key] - first[key] >= least_seconds}
    gone = _closed_in_silence(first, last, every, counted, least_seconds) - stayed
    return [Wait(*found[key], key in gone) for key in found if key in stayed or key in gone]


def _asking(sample: Sockets, workloads: Workloads | None) -> Iterator[tuple[NameSocket, Workload | None]]:
    """Without a name server's own: it keeps sockets to others open, whether it has asked or not."""
    names = sample.names or ()
    servers = {(s.netns, s.owner_pid) for s in names if s.local.port == PORT and s.owner_pid is not None}
    by_pid = workloads.by_pid if workloads is not None else {}
    for s in names:
        if s.remote is not None and s.remote.port == PORT and (s.netns, s.owner_pid) not in servers:
            yield s, by_pid.get(s.owner_pid) if s.owner_pid is not None else None


def _closed_in_silence(
    first: Mapping[Key, float], last: Mapping[Key, float], every: Readings, counted: CounterWindow | None, least: float
) -> set[Key]:
    """Of one reading, as who asks anew counts once: those of the oldest, gone by the newest, while nothing came to the
    namespace. In a snapshot sockets are read after counters."""
    if counted is None or counted.seconds < least:
        return set()
    begin, end = counted.begin.boot_seconds, counted.end.boot_seconds
    within = [at.boot_seconds for at, _, _ in every if begin <= at.boot_seconds <= end]
    silent = {netns for netns, rises in counted.rises.items() if not any(rises.get(name, 0) for name in CAME)}
    return {key for key in last if within and key[0] in silent and first[key] == within[0] and last[key] < within[-1]}
