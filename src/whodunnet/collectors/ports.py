"""Local ports in use, in those network namespaces that have sockets enough to use them up."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Set
from functools import partial
from itertools import islice
from typing import ClassVar, Final

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.netlink.sock_diag import SockDiag
from whodunnet.kernel.netlink.sock_diag_messages import ends_of
from whodunnet.kernel.procfs.sockstat import read_sockstat, read_sockstat6
from whodunnet.kernel.roots import Roots
from whodunnet.model.ports import NamespacePorts, Ports, PortUse, SourcePorts
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.sockets import Endpoint

NAMESPACES_LIMIT: Final = 4096
SOCKETS_LIMIT: Final = 131_072
"""In one namespace: two for each port there can be."""
READ_FROM: Final = 0.5
"""Ports are read where sockets and TIME_WAIT are at least so many, as a share of the range."""
READING_SECONDS_MAX: Final = 1.0
FEW: Final = 0.1
"""Where sockets are fewer than this share of the range, they are not counted again within AGAIN_SECONDS."""
AGAIN_SECONDS: Final = 2.5
USES_LIMIT: Final = 16
SOURCES_LIMIT: Final = 16
_RANGE: Final = "net.ipv4.ip_local_port_range"
_BUCKETS: Final = "net.ipv4.tcp_max_tw_buckets"
_OPEN: Final = frozenset({"established", "syn-sent", "syn-recv", "close-wait"})

OWN: Final = slice(2, 18)
"""The own address in SocketEnds.key."""
Place = tuple[int, bytes]
"""Family and own address."""
Taken = dict[Place, dict[int, bytes | None]]
"""Each port with both its ends (SocketEnds.key), None where there are several."""


class PortsCollector:
    """Counts sockets of every reachable namespace, and reads the ports of those that may run out of them."""

    name: ClassVar[str] = "ports"

    def __init__(self, roots: Roots, settings: Callable[[], Settings | None]) -> None:
        """settings: as they were last read, with the range of ports of each namespace."""
        self._roots = roots
        self._settings = settings
        self._few: dict[int, tuple[float, NamespacePorts]] = {}

    def collect(self) -> Ports:
        """One reading. Raises UnreadableError if the list of processes cannot be read."""
        found, own = namespaces.find(self._roots), namespaces.own(self._roots)
        settings = self._settings()
        known = settings.by_netns if settings else {}
        now = time.monotonic()
        self._few = {inum: kept for inum, kept in self._few.items() if now - kept[0] < AGAIN_SECONDS}
        by_netns: dict[int, NamespacePorts] = {}
        ways = {own: Way(), **found.ways}
        with Visitor() as visitor:
            for inum, way in islice(ways.items(), NAMESPACES_LIMIT):
                read = partial(self._read, visitor, inum, way if inum != own else None, known.get(inum), now)
                ports = unless_unreadable(read)
                if ports is not None:
                    by_netns[inum] = ports
        return Ports(by_netns=by_netns, netns_unread=len(ways) - len(by_netns) + found.unidentified)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _read(
        self, visitor: Visitor, inum: int, way: Way | None, settings: NamespaceSettings | None, now: float
    ) -> NamespacePorts:
        """way: None for our own namespace. Raises UnreadableError."""
        if inum in self._few:
            return self._few[inum][1]
        place = None if way is None else way.mount or self._roots.proc / str(way.pid) / "ns/net"
        counted = self._counted(visitor, inum, way)
        ports = settings.ports if settings else None
        sockets = counted.sockets + counted.time_wait
        if ports and sockets < FEW * ports <= _room(settings):
            self._few[inum] = now, counted
        if settings is None or not ports or sockets < READ_FROM * ports:
            return counted
        if time.monotonic() > now + READING_SECONDS_MAX:
            return NamespacePorts(sockets=counted.sockets, time_wait=counted.time_wait, unread="there was no time")
        first, last = settings.values[_RANGE]
        read = partial(read_uses, first, last, counted)
        try:
            return read() if place is None else visitor.inside(place, inum, read)
        except UnreadableError as error:
            return NamespacePorts(sockets=counted.sockets, time_wait=counted.time_wait, unread=str(error))

    def _counted(self, visitor: Visitor, inum: int, way: Way | None) -> NamespacePorts:
        """Raises UnreadableError."""
        if way is None:
            return _count(self._roots, "thread-self")
        if way.pid is not None:
            counted = unless_unreadable(partial(_count, self._roots, str(way.pid)))
            # Whether it moved on since the scan can be known for sure only afterwards.
            if counted is not None and namespaces.of_process(self._roots, way.pid) == inum:
                return counted
        if way.mount is None:
            raise UnreadableError(f"no process is in network namespace {inum} any more", code="vanished")
        return visitor.inside(way.mount, inum, partial(_count, self._roots, "thread-self"))


def _room(settings: NamespaceSettings | None) -> float:
    """How many connections may be in TIME_WAIT: where they are fewer than few sockets, they are full at once."""
    most = settings.number(_BUCKETS) if settings else None
    return float("inf") if most is None else most


def _count(roots: Roots, task: str) -> NamespacePorts:
    sockstat = read_sockstat(roots, task)
    six = unless_unreadable(partial(read_sockstat6, roots, task))
    sockets = sockstat.tcp_inuse + (six.tcp6_inuse if six else 0)
    return NamespacePorts(sockets=max(sockets, 0), time_wait=max(sockstat.tcp_tw, 0))


def read_uses(first: int, last: int, counted: NamespacePorts) -> NamespacePorts:
    """Who of the namespace that the calling thread is in has which ports of the range. Raises UnreadableError."""
    found: Counter[tuple[int, bytes, str]] = Counter()
    bound: set[int] = set()
    taken: Taken = defaultdict(dict)
    waiting: set[tuple[Place, int]] = set()
    with SockDiag() as diag:
        for number, ends in enumerate(diag.ends(first, last)):
            if number >= SOCKETS_LIMIT:
                raise UnreadableError(f"more than {SOCKETS_LIMIT:,} sockets have ports of the range")
            state = "time_wait" if ends.in_time_wait else ends.state
            if state in ("listen", "close"):
                bound.add(ends.local_port)
            else:
                place = ends.kind[0], ends.key[OWN]
                found[ends.kind[0], ends.key, "open" if state in _OPEN else state] += 1
                if state == "time_wait":
                    waiting.add((place, ends.local_port))
                ports = taken[place]  # a socket that moves while it is read may come twice
                if ports.setdefault(ends.local_port, ends.key) != ends.key:
                    ports[ends.local_port] = None
    return NamespacePorts(
        sockets=counted.sockets, time_wait=counted.time_wait, uses=_uses(found), bound=len(bound),
        sources=_sources(taken, bound, waiting),
    )  # fmt: skip


def _sources(taken: Taken, bound: set[int], waiting: Set[tuple[Place, int]]) -> tuple[SourcePorts, ...]:
    """Addresses with most ports. What was accepted has the port that is listened on, which is in bound."""
    names = {place: _own(*place) for place in taken}
    used: dict[str, dict[int, bytes | None]] = {}
    for place, mine in taken.items():
        ports = used.setdefault(names[place], {})
        ports |= {port: None if port in ports else key for port, key in mine.items()}
    free_of_listeners = {(names[place], port) for place, port in waiting if port not in bound}
    closed = Counter(source for source, _ in free_of_listeners)
    known = [
        SourcePorts(
            source=source,
            ports=len(ports.keys() - bound),
            shared=sum(key is None and port not in bound for port, key in ports.items()),
            time_wait=closed[source],
        )
        for source, ports in used.items()
    ]
    most = sorted((one for one in known if one.ports), key=lambda one: (-one.ports, one.source))
    return tuple(most[:SOURCES_LIMIT])


def _own(family: int, address: bytes) -> str:
    return ends_of(family, bytes(2) + address + bytes(16))[0]


def _uses(found: Counter[tuple[int, bytes, str]]) -> tuple[PortUse, ...]:
    """Those that take most ports. What accepted connections have is of one client's port each, and last."""
    sums: dict[tuple[int, bytes], list[int]] = {}
    for (family, key, state), n in found.items():
        place = ("open", "time_wait").index(state) if state in ("open", "time_wait") else 2
        sums.setdefault((family, key), [0, 0, 0])[place] += n
    most = sorted(sums.items(), key=lambda item: (-sum(item[1]), item[0]))[: 2 * USES_LIMIT]
    uses: dict[tuple[str, str, int], PortUse] = {}
    for (family, key), (alive, waiting, closing) in most:
        ends = ends_of(family, key)
        before = uses.get(ends) or PortUse(source=ends[0], destination=Endpoint(ends[1], ends[2]))
        uses[ends] = PortUse(
            source=ends[0], destination=before.destination, open=before.open + alive,
            closing=before.closing + closing, time_wait=before.time_wait + waiting,
        )  # fmt: skip
    return tuple(sorted(uses.values(), key=lambda use: -use.ports)[:USES_LIMIT])
