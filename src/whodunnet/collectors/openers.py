"""Who opens the connections of a watch, and how long they were idle: asked again and again, at a bounded pace.

Needs CAP_SYS_ADMIN to enter other network namespaces, as the addresses collector does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.netlink.socket_idle import read_idle
from whodunnet.kernel.roots import Roots
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.flow_owners import FlowOwner, FlowOwners, is_loopback
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Workload, Workloads

T = TypeVar("T")
Clock = Callable[[], float]
REFRESH_SECONDS = 5.0
UNKNOWN_SECONDS = 1.0
"""An address that nobody was seen to have is looked for at once, but not more often than this."""
BUSY_SHARE = 0.1
"""Readings are so far apart that they take at most this share of one CPU."""
IDLE_QUESTIONS = 100
"""Sockets asked for their idle time in one second."""
PLACES_ASKED = 4
"""Network namespaces in which one connection is looked for."""
REMEMBERED_ADDRESSES = 65_536
CLOSING = frozenset({"fin-wait", "close-wait"})
"""States in which one end has closed, and both may still have their sockets."""


class Openers:
    """Use it in a `with` block, from one thread.

    failure: why addresses or workloads could not be read the last time. readings: how often they were.
    unasked: idle times not asked for, because there were too many at once. addresses: None if they were not read.
    """

    def __init__(self, roots: Roots, node: int, clock: Clock = time.monotonic, cpu: Clock = time.process_time) -> None:
        """node: inode number of the network namespace that is watched."""
        self.failure: str | None = None
        self.addresses: Addresses | None = None
        self.readings = 0
        self.unasked = 0
        self._roots, self._node, self._clock, self._cpu = roots, node, clock, cpu
        self._addresses, self._workloads = AddressesCollector(roots), WorkloadsCollector(roots)
        self._visitor = Visitor()
        self._elsewhere: dict[str, None] = {}
        self._questions = (0, 0)

    def __enter__(self) -> Self:
        self._visitor.__enter__()
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._visitor.__exit__()

    def refresh(self) -> None:
        """Read again if it is time."""
        if self._due(REFRESH_SECONDS):
            self._read()

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Those with an address of their own that were met here."""
        return tuple(workload.pod for workload in self._known.by_netns.values() if workload.pod is not None)

    def of(self, event: FlowEvent) -> FlowOwner:
        """Whoever opened the entry; kind "unread" where nobody has looked since that address was first met."""
        address = event.source.address or ""
        if address not in self._found:
            owner = self._find(event, address)
            if owner.kind == "unread":
                return owner
            _remember(self._found, address, owner)
        return self._found[address]

    def answerer(self, event: FlowEvent) -> Workload | None:
        """The one pod, container or program on this node that answers, if that can be told."""
        return self._owners.answerer(event.answered_by.address or "")

    def idle(self, event: FlowEvent) -> float | None:
        """Seconds without data of a TCP connection that is being closed, as a socket of this node tells it."""
        if event.protocol != "tcp" or event.state not in CLOSING:
            return None
        for local, remote in ((event.source, event.destination), (event.answered_by, event.source_as)):
            found = [self._ask(place, local, remote) for place in self._places_of(local.address or "")]
            told = [seconds for seconds in found if seconds is not None]
            if len(told) == 1:
                return told[0]
        return None

    def _find(self, event: FlowEvent, address: str) -> FlowOwner:
        owner = self._opener(event)
        if owner.kind != "remote" or address in self._elsewhere:
            return owner
        if not self._due(UNKNOWN_SECONDS):
            return FlowOwner(key=unread_key(address), kind="unread", address=address)
        self._read()
        _remember(self._elsewhere, address, None)  # or here by now, which is looked at first
        return self._opener(event)

    def _opener(self, event: FlowEvent) -> FlowOwner:
        return self._owners.split(event.as_group())[0][0]

    def _due(self, seconds: float) -> bool:
        return self._clock() - self._read_at >= max(seconds, self._cost / BUSY_SHARE)

    def _read(self) -> None:
        begin = self._cpu()
        self.failure = None
        addresses, workloads = self._read_addresses(), Workloads()
        if addresses is not None:
            try:
                workloads = self._workloads.attribute((), netns=addresses.by_netns, shared_netns={self._node})
            except UnreadableError as error:
                self.failure = str(error)
        self.addresses, self._known = addresses, workloads
        self._owners = FlowOwners(Conntrack(loaded=True, netns=self._node), addresses, (), workloads)
        self._places = addresses.namespaces() if addresses is not None else {}
        self._found: dict[str, FlowOwner] = {}
        self._ways: dict[int, Way] | None = None
        self.readings += 1
        self._read_at = self._clock()
        self._cost = self._cpu() - begin

    def _read_addresses(self) -> Addresses | None:
        try:
            return self._addresses.collect()
        except UnreadableError as error:
            self.failure = str(error)
            return None

    def _places_of(self, address: str) -> tuple[int, ...]:
        """The namespaces that have an address; where several have it, the connection is in one of them."""
        places = (self._node,) if is_loopback(address) else self._places.get(address, ())
        return places[:PLACES_ASKED]

    def _may_ask(self) -> bool:
        second, asked = int(self._clock()), self._questions[1]
        if second != self._questions[0]:
            asked = 0
        self._questions = second, asked + 1
        return asked < IDLE_QUESTIONS

    def _ask(self, netns: int, local: Endpoint, remote: Endpoint) -> float | None:
        if not self._may_ask():
            self.unasked += 1
            return None
        question = partial(read_idle, local, remote)
        try:
            if netns == namespaces.own(self._roots):
                return question()
            way = self._way(netns)
            return None if way is None else self._visitor.inside(self._path(way), netns, question)
        except UnreadableError:
            return None  # the namespace is gone, or we may not enter it: unknown, as if there were no socket

    def _path(self, way: Way) -> Path:
        return way.mount or self._roots.proc / str(way.pid) / "ns/net"

    def _way(self, netns: int) -> Way | None:
        if self._ways is None:
            self._ways = namespaces.find(self._roots).ways
        return self._ways.get(netns)


def unread_key(address: str) -> str:
    """The key of whoever has an address, as long as nobody has looked (as FlowOwners has it)."""
    return f"unread {address}"


def _remember(known: dict[str, T], key: str, value: T) -> None:
    """Put it in; the oldest gives way."""
    if len(known) >= REMEMBERED_ADDRESSES:
        del known[next(iter(known))]
    known[key] = value
