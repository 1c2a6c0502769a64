"""Sockets that wait for a name server: those that stay, and those whose program gave up and began anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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
"""A datagram that a program read (net/ipv4/udp.c counts it then), that nobody wanted any more, and a refusal."""

DELIVERED: Final = ("Ip.InDelivers", "Ip6.InDelivers")
ELSEWHERE: Final = ("Tcp.InSegs", "Icmp.InMsgs", "Icmp6.InMsgs")
"""To whom packets were delivered, but to UDP; Tcp counts those of both families (net/ipv6/tcp_ipv6.c)."""

Readings = Sequence[tuple[Moment, Sockets, Workloads | None]]
Asker = tuple[int, int | None, Endpoint]
"""Network namespace, process, name server."""


class Wait(NamedTuple):
    """A socket connected to a name server, that was there in two readings far enough apart.

    given_up: it was gone by the newest one, where its program asks by another socket, and nothing at all had come to
    its namespace. The C library gives up after 10 s, or as resolv.conf has it, and most programs begin anew.
    """

    socket: NameSocket
    owner: Workload | None
    given_up: bool = False


class _Seen(NamedTuple):
    first: float
    last: float
    socket: NameSocket
    owner: Workload | None


def find_waits(
    every: Readings, resolvers: Resolvers, counted: CounterWindow | None, least_seconds: float
) -> list[Wait]:
    """Of each who asks the sockets that stayed for so long; or, if they are more, those that it gave up.

    every: readings of sockets with names, oldest first.
    """
    found: list[Wait] = []
    for (netns, pid, _), seen in _by_asker(every, resolvers).items():
        stayed = [Wait(s.socket, s.owner) for s in seen if s.last - s.first >= least_seconds]
        gone: list[Wait] = []
        if pid is not None and counted is not None and _is_silent(netns, counted, least_seconds):
            begin, end = _oldest_and_newest(every, counted)
            if any(s.last >= end for s in seen):
                gone = [Wait(s.socket, s.owner, True) for s in seen if s.first == begin and s.last < end]
        found += gone if len(gone) > len(stayed) else stayed
    return found


def _by_asker(every: Readings, resolvers: Resolvers) -> dict[Asker, list[_Seen]]:
    """Each socket once, without our own and those to which something came that the program has not read."""
    left_out = {(lookup.netns, lookup.inode) for lookup in resolvers.lookups if lookup.inode}
    left_out |= {(s.netns, s.inode) for _, sample, _ in every for s in sample.names or () if s.unread_bytes > 0}
    found: defaultdict[Asker, dict[int, _Seen]] = defaultdict(dict)
    for at, sample, workloads in every:
        for socket, owner in _asking(sample, workloads):
            if socket.remote is not None and (socket.netns, socket.inode) not in left_out:
                sockets = found[socket.netns, socket.owner_pid, socket.remote]
                before = sockets.get(socket.inode)
                first = before.first if before else at.boot_seconds
                sockets[socket.inode] = _Seen(first, at.boot_seconds, socket, owner)
    return {asker: [*sockets.values()] for asker, sockets in found.items()}


def _asking(sample: Sockets, workloads: Workloads | None) -> Iterator[tuple[NameSocket, Workload | None]]:
    """Without a name server's own: it keeps sockets to others open, whether it has asked or not."""
    names = sample.names or ()
    servers = {(s.netns, s.owner_pid) for s in names if s.local.port == PORT and s.owner_pid is not None}
    by_pid = workloads.by_pid if workloads is not None else {}
    for s in names:
        if s.remote is None or s.remote.port != PORT or (s.netns, s.owner_pid) in servers:
            continue
        yield s, by_pid.get(s.owner_pid) if s.owner_pid is not None else None


def _is_silent(netns: int, counted: CounterWindow, least_seconds: float) -> bool:
    """Whether nothing came for twice as long: sockets are read late in the first snapshot, counters early in the last.

    What came and was never read shows as packets delivered to neither TCP nor ICMP.
    """
    rises = counted.rises.get(netns)
    if rises is None or counted.seconds < 2 * least_seconds or any(rises.get(name, 0) for name in CAME):
        return False
    delivered, elsewhere = (sum(rises.get(name, 0) for name in names) for names in (DELIVERED, ELSEWHERE))
    return delivered <= elsewhere


def _oldest_and_newest(every: Readings, counted: CounterWindow) -> tuple[float, float]:
    """Of the readings of sockets, within the time that is counted."""
    begin, end = counted.begin.boot_seconds, counted.end.boot_seconds
    within = [at.boot_seconds for at, _, _ in every if begin <= at.boot_seconds <= end]
    return (within[0], within[-1]) if within else (end, end)
