"""Who opened the tracked connections of one reading: address -> network namespace -> workload.

Conntrack knows addresses only. A source address is looked up in the namespaces that have it; where several programs
share one (host-network pods, the node's own processes), entries are split by the sockets that lead to the same
destination, and what no socket vouches for stays shared.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Process, Workload, Workloads, owner_key

OwnerKind = Literal["workload", "node", "netns", "remote", "ambiguous", "unread"]
WITH_SOCKET = frozenset({"none", "syn-sent", "syn-sent2", "syn-recv", "established", "close-wait"})
"""States of an entry in which its opener still has the socket; later ones may outlive it by minutes."""

Destination = tuple[int, str, Endpoint]
"""Network namespace, protocol, and what its sockets are connected to."""


class FlowOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever opened entries.

    key: the same from snapshot to snapshot. kind: "workload": named. "node": the node's own processes or host-network
    pods, not told apart. "netns": a namespace whose programs are not told apart. "remote": not on this node.
    "ambiguous": several namespaces have the address. "unread": addresses were not read.
    address: the source, where there is no workload. netns: where it is, if known.
    inferred: these entries have no socket any more; it is the only one seen with sockets to that destination, and these
        came and went.
    candidates: who was seen with sockets to that destination, where entries could not be told apart.
    """

    key: str
    kind: OwnerKind
    workload: Workload | None = None
    address: str | None = None
    netns: int | None = None
    inferred: bool = False
    candidates: tuple[Workload, ...] = ()


class FlowOwners:
    """Finds the openers of the groups of one Conntrack sample. Keep it for one reading."""

    def __init__(
        self, conntrack: Conntrack, addresses: Addresses | None, sockets: Sequence[Sockets], workloads: Workloads
    ) -> None:
        """sockets: every reading of the window, newest last; short connections are met in some of them only."""
        self._node = conntrack.netns
        self._addresses_read = addresses is not None
        self._namespaces = addresses.namespaces() if addresses is not None else {}
        self._workloads = workloads
        self._now = _openers(sockets[-1:], workloads)
        self._ever = _openers(sockets, workloads)
        self._constant = _constant(sockets, workloads)
        self._representative = _representatives(sockets, workloads)
        self._sockets = sockets[-1] if sockets else None

    def split(self, group: FlowGroup) -> list[tuple[FlowOwner, int]]:
        """Owners of the entries of one group, with how many each has; the numbers add up to group.entries."""
        places = self._places(group)
        if not places:
            kind: OwnerKind = "remote" if self._addresses_read else "unread"
            return [(FlowOwner(key=f"{kind} {group.source}", kind=kind, address=group.source), group.entries)]
        if len(places) > 1:
            owner = FlowOwner(key=f"ambiguous {group.source}", kind="ambiguous", address=group.source)
            return [(owner, group.entries)]
        (netns,) = places
        tenant = None if netns == self._node else self._tenant(netns)
        if tenant is not None:
            return [(FlowOwner(key=f"netns {netns}", kind="workload", workload=tenant, netns=netns), group.entries)]
        return self._by_sockets(group, netns)

    def open_sockets(self, owner: FlowOwner) -> int | None:
        """TCP sockets, listeners left out, that an owner really has open; None where that is not known."""
        if self._sockets is None or owner.kind in ("remote", "ambiguous", "unread"):
            return None
        return sum(g.sockets for g in self._sockets.groups if _is_connection(g) and self._has(owner, g))

    def open_to(self, owner: FlowOwner, destination: Endpoint) -> int | None:
        """The same for one destination."""
        if self._sockets is None or owner.kind in ("remote", "ambiguous", "unread"):
            return None
        return sum(
            g.sockets
            for g in self._sockets.groups
            if g.endpoint == destination and g.role == "initiated" and _is_connection(g) and self._has(owner, g)
        )

    def is_local(self, address: str) -> bool:
        """Whether the address is on this node: its own, or that of a namespace on it."""
        return address in self._namespaces or is_loopback(address)

    def answerer(self, address: str) -> Workload | None:
        """The one pod, container or program on this node that has an address, if that can be told."""
        places = [netns for netns in self._namespaces.get(address, ()) if netns != self._node]
        return self._tenant(places[0]) if len(places) == 1 else None

    def _has(self, owner: FlowOwner, g: SocketGroup) -> bool:
        if owner.netns is None or g.netns != owner.netns:
            return False
        if owner.key == f"netns {g.netns}" or owner.kind in ("node", "netns"):
            return True
        return g.owner_pid is not None and self._key_of(g.owner_pid, g.netns) == owner.key

    def _places(self, group: FlowGroup) -> tuple[int, ...]:
        """The namespaces that have the source address: only those with such sockets, if several have it."""
        if is_loopback(group.source):
            return (self._node,) if self._node is not None else ()
        places = self._namespaces.get(group.source, ())
        if len(places) > 1 and group.destination is not None:
            known = tuple(n for n in places if self._ever.get((n, group.protocol, group.destination)))
            return known if len(known) == 1 else places
        return places

    def _tenant(self, netns: int) -> Workload | None:
        return self._workloads.by_netns.get(netns) or self._workloads.sole_by_netns.get(netns)

    def _by_sockets(self, group: FlowGroup, netns: int) -> list[tuple[FlowOwner, int]]:
        """Split by the sockets to the same destination."""
        left, found = group.entries, []
        ever = self._ever_to(netns, group)
        if group.state not in WITH_SOCKET and len(ever) == 1:
            (key,) = ever
            if (netns, group.protocol, group.destination, key) not in self._constant:
                return [(self._process_owner(key, netns, inferred=True), left)]
        if group.state in WITH_SOCKET:
            for key, n in sorted(self._now_to(netns, group).items()):
                given = min(n, left)
                left -= given
                if given:
                    found.append((self._process_owner(key, netns), given))
        if left:
            found.append((self._shared(netns, group.source, ever), left))
        return found

    def _now_to(self, netns: int, group: FlowGroup) -> Counter[str]:
        return self._now.get((netns, group.protocol, group.destination), Counter()) if group.destination else Counter()

    def _ever_to(self, netns: int, group: FlowGroup) -> Counter[str]:
        return self._ever.get((netns, group.protocol, group.destination), Counter()) if group.destination else Counter()

    def _process_owner(self, key: str, netns: int, *, inferred: bool = False) -> FlowOwner:
        return FlowOwner(key=key, kind="workload", workload=self._representative[key], netns=netns, inferred=inferred)

    def _shared(self, netns: int, source: str, seen: Iterable[str]) -> FlowOwner:
        kind: OwnerKind = "node" if netns == self._node else "netns"
        candidates = tuple(self._representative[key] for key in sorted(seen))
        return FlowOwner(key=f"{kind} {netns}", kind=kind, address=source, netns=netns, candidates=candidates)

    def _key_of(self, pid: int, netns: int) -> str:
        return _process_key(pid, netns, self._workloads)


def is_loopback(address: str) -> bool:
    """Whether this is an address that every namespace has."""
    return ipaddress.ip_address(address).is_loopback


def _is_connection(g: SocketGroup) -> bool:
    return g.protocol == "tcp" and g.role in ("initiated", "accepted")


def _process_key(pid: int, netns: int, workloads: Workloads) -> str:
    return f"{owner_key(pid, workloads.by_pid.get(pid))} in {netns}"


def _openers(samples: Sequence[Sockets], workloads: Workloads) -> dict[Destination, Counter[str]]:
    """Owners with sockets connected to a destination, and how many at most at one time."""
    found: dict[Destination, Counter[str]] = {}
    for sample in samples:
        met: dict[Destination, Counter[str]] = {}
        for g in sample.groups:
            if g.role == "initiated" and g.endpoint is not None and g.netns is not None and g.owner_pid is not None:
                counts = met.setdefault((g.netns, g.protocol, g.endpoint), Counter())
                counts[_process_key(g.owner_pid, g.netns, workloads)] += g.sockets
        for destination, counts in met.items():
            found[destination] = found.get(destination, Counter()) | counts
    return found


def _constant(samples: Sequence[Sockets], workloads: Workloads) -> set[tuple[int, str, Endpoint | None, str]]:
    """Who had the same number of sockets to a destination in every reading: such connections do not come and go."""
    readings = [_openers([sample], workloads) for sample in samples]
    return {
        (*destination, key)
        for destination, counts in (readings[-1].items() if readings else ())
        for key, n in counts.items()
        if all(reading.get(destination, Counter())[key] == n for reading in readings)
    }


def _representatives(samples: Sequence[Sockets], workloads: Workloads) -> dict[str, Workload]:
    """A process for each key."""
    found: dict[str, Workload] = {}
    for sample in samples:
        for g in sample.groups:
            if g.owner_pid is not None and g.netns is not None:
                key = _process_key(g.owner_pid, g.netns, workloads)
                unnamed = Workload(process=Process(pid=g.owner_pid, comm=f"pid {g.owner_pid}"), netns=g.netns)
                found.setdefault(key, workloads.by_pid.get(g.owner_pid) or unnamed)
    return found
