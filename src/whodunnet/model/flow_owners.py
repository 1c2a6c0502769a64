"""Who opened the tracked connections of one reading: address -> network namespace -> workload.

Conntrack knows addresses only. A source address is looked up in the namespaces that have it; where several programs
share one (host-network pods, the node's own processes), entries are split by the sockets that lead to the same
destination, or by who made the connects, and what nothing of that vouches for stays shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Literal

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_left import left_in
from whodunnet.model.flow_makers import FlowMakers, WindowMakers
from whodunnet.model.flow_seen import seen_in
from whodunnet.model.flow_sockets import connections_of, listening_on, sides_of, workload_of
from whodunnet.model.inner_flows import InnerFlows
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.vouching import OPENING, Destination, vouch
from whodunnet.model.workload import Workload, Workloads

OwnerKind = Literal["workload", "node", "netns", "remote", "ambiguous", "unread"]
WITH_SOCKET = frozenset({"none", "syn-sent", "syn-sent2", "syn-recv", "established", "close-wait"})
"""States of an entry in which its opener still has the socket; later ones may outlive it by minutes."""


class FlowOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever opened entries.

    key: the same from snapshot to snapshot. kind: "workload": named. "node": the node's own processes or host-network
    pods, not told apart. "netns": a namespace whose programs are not told apart. "remote": not on this node.
    "ambiguous": several namespaces have the address. "unread": addresses were not read.
    address: the source, where there is no workload. netns: where it is, if known.
    inferred: these entries have no socket any more; it is the only one seen with sockets to that destination, and these
        came and went; or it made nearly all connects to it within the window.
    candidates: who was seen with sockets to that destination, where entries could not be told apart.
    via: the namespace that opened them for others by its own address; of kind "netns" nobody knows for whom.
    """

    key: str
    kind: OwnerKind
    workload: Workload | None = None
    address: str | None = None
    netns: int | None = None
    inferred: bool = False
    candidates: tuple[Workload, ...] = ()
    via: int | None = None


class FlowOwners:
    """Finds the openers of the groups of one Conntrack sample. Keep it for one reading."""

    def __init__(
        self,
        conntrack: Conntrack,
        addresses: Addresses | None,
        sockets: Sequence[Sockets],
        workloads: Workloads,
        then: Sequence[Workloads | None] = (),
        makers: WindowMakers | None = None,
        at: float = inf,
    ) -> None:
        """sockets: every reading of the window, newest last; short connections are met in some of them only.

        then: who had which pid at each of them, as another process may have it now; if not given, whoever has it now.
        makers: who made the connects of the window, if that is known; for entries whose sockets are gone.
        at: when the reading was made, in seconds since boot; for makers.
        """
        self._node = conntrack.netns
        self._addresses_read = addresses is not None
        self._namespaces = addresses.namespaces() if addresses is not None else {}
        self._workloads = workloads
        self._inner = InnerFlows(conntrack, addresses)
        seen = seen_in(sockets, workloads, then)
        self._by_pid, self._key_of, self._representative = seen.by_pid, seen.key_of, seen.representative
        self._ever, self._connected, self._constant = seen.ever, seen.connected, seen.constant
        self._left = left_in(conntrack, WITH_SOCKET)
        longest = max((left.longest for left in self._left.values()), default=1)
        self._makers = makers.at(at, longest) if makers is not None else None
        self._connections = connections_of(sockets[-1], self._key_of) if sockets else None
        self._listening = listening_on(sockets[-1], self._key_of) if sockets else {}
        places = [(g, to) for g in conntrack.groups if (to := self._shared_destination(g)) is not None]
        self._vouched = vouch(places, sides_of(sockets[-1], self._key_of)) if sockets else {}

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
        if netns != self._node and (behind := self._behind(group, netns)):
            return behind
        return self._itself(group, netns, group.entries)

    def holder(self, group: SocketGroup) -> FlowOwner | None:
        """The pod whose namespace it is, else the program that has these sockets open; None where nobody knows."""
        if group.netns is None:
            return None
        pod = None if group.netns == self._node else self._workloads.by_netns.get(group.netns)
        if pod is not None:
            return _whole(group.netns, pod)
        if group.owner_pid is None:
            return None
        key = self._key_of(group.owner_pid, group.netns)
        self._representative.setdefault(key, workload_of(group.owner_pid, group.netns, self._by_pid))
        return self._process_owner(key, group.netns)

    def open_sockets(self, owner: FlowOwner) -> int | None:
        """TCP connections that an owner really has open; None where that is not known."""
        return self._count(owner, lambda _: True)

    def opened_sockets(self, owner: FlowOwner) -> int | None:
        """The same without those it accepted, whose entries are of whoever called."""
        return self._count(owner, lambda g: g.role == "initiated")

    def open_to(self, owner: FlowOwner, destination: Endpoint) -> int | None:
        """Those of them that lead to one destination."""
        return self._count(owner, lambda g: g.endpoint == destination and g.role == "initiated")

    def opening_sockets(self, owner: FlowOwner) -> int | None:
        """TCP sockets of an owner that nobody has answered yet, which are no connections."""
        return self._count(owner, lambda _: True, opening=True)

    def _count(self, owner: FlowOwner, wanted: Callable[[SocketGroup], bool], *, opening: bool = False) -> int | None:
        if self._connections is None or owner.kind in ("remote", "ambiguous", "unread"):
            return None
        everybody = owner.kind in ("node", "netns") or owner.key == f"netns {owner.netns}"
        groups = self._connections.get((owner.netns, None if everybody else owner.key), ())
        return sum(g.sockets for g in groups if (g.state in OPENING) is opening and wanted(g))

    def namespaces_of(self, address: str) -> tuple[int, ...] | None:
        """The namespaces on this node that have an address; None where addresses were not read."""
        if is_loopback(address):
            return (self._node,) if self._node is not None else ()
        return self._namespaces.get(address, ()) if self._addresses_read else None

    def is_local(self, address: str) -> bool:
        """Whether the address is on this node: its own, or that of a namespace on it."""
        return address in self._namespaces or is_loopback(address)

    def namespace_of(self, address: str) -> int | None:
        """The one namespace that has an address; None where several have it, or none on this node."""
        places = self._namespaces.get(address, ())
        return places[0] if len(places) == 1 else None

    def answerer(self, address: str) -> Workload | None:
        """The one pod, container or program on this node that has an address, if that can be told."""
        places = [netns for netns in self._namespaces.get(address, ()) if netns != self._node]
        return self._tenant(places[0]) if len(places) == 1 else None

    def answering(self, endpoint: Endpoint) -> str | None:
        """Key of the owner who answers there: who has the address for itself, else who listens on the port."""
        if endpoint.address is None:
            return None
        places = (self._node,) if is_loopback(endpoint.address) else self._namespaces.get(endpoint.address, ())
        netns = places[0] if len(places) == 1 else None
        if netns is None:
            return None
        if netns != self._node and self._tenant(netns) is not None:
            return f"netns {netns}"
        return self._listener(netns, endpoint.port)

    def listens(self, owner: FlowOwner, port: int) -> bool:
        """Whether an owner was seen to listen for TCP on a port; for a whole namespace, whether anybody in it does."""
        keys = self._listening.get((owner.netns, port), ())
        return owner.key in keys or (bool(keys) and owner.key == f"netns {owner.netns}")

    def _listener(self, netns: int, port: int | None) -> str | None:
        """The one owner who listens on a port; None where several do, or nobody knows who."""
        keys = self._listening.get((netns, port), ())
        return keys[0] if len(keys) == 1 else None

    def _places(self, group: FlowGroup) -> tuple[int, ...]:
        """The namespaces that have the source address: only those with such sockets, if several have it."""
        places = self.namespaces_of(group.source) or ()
        if len(places) > 1 and group.destination is not None:
            known = tuple(n for n in places if self._ever.get((n, group.protocol, group.destination)))
            return known if len(known) == 1 else places
        return places

    def _tenant(self, netns: int) -> Workload | None:
        return self._workloads.by_netns.get(netns) or self._workloads.sole_by_netns.get(netns)

    def _shared_destination(self, group: FlowGroup) -> Destination | None:
        """Where sockets are to be looked for, if only they can tell whose the entries are."""
        if group.destination is None or group.state not in WITH_SOCKET:
            return None
        places = self._places(group)
        if len(places) != 1 or (places[0] != self._node and self._tenant(places[0]) is not None):
            return None
        return places[0], group.protocol, group.destination

    def _behind(self, group: FlowGroup, netns: int) -> list[tuple[FlowOwner, int]]:
        """For whom a namespace opened a group by its own address; nothing if it did so for itself."""
        if all(self._is_own(address, netns) for address in self._inner.leaving_as(netns, group.source)):
            if self._inner.may_translate(netns, group.source) and not self._has_sockets(group, netns):
                return [(self._somebody_behind(netns, group.source), group.entries)]
            return []
        senders = self._inner.senders(netns, group)
        own = sum(n for address, n in senders.items() if self._is_own(address, netns))
        parts = self._itself(group, netns, own) if own else []
        parts += [(self._sender(a, group, netns), n) for a, n in senders.items() if not self._is_own(a, netns)]
        parts.append((self._somebody_behind(netns, group.source), group.entries - sum(senders.values())))
        found: dict[str, tuple[FlowOwner, int]] = {}
        for owner, n in parts:
            found[owner.key] = owner, n + found.get(owner.key, (owner, 0))[1]
        return [part for part in found.values() if part[1]]

    def _sender(self, address: str, group: FlowGroup, netns: int) -> FlowOwner:
        """Who alone had an address before a namespace translated it, if its sockets show that too.

        Inner networks of several pods often have the same addresses, and some may be out of sight.
        """
        places = tuple(self._namespaces.get(address, ()))
        tenant = self._tenant(places[0]) if len(places) == 1 and self._has_sockets(group, places[0]) else None
        if tenant is None or self._inner.is_here(address):
            return self._somebody_behind(netns, group.source)
        return _whole(places[0], tenant, via=netns)

    def _is_own(self, address: str, netns: int) -> bool:
        """Whether a namespace has an address itself: nothing that it forwards has such a source."""
        return is_loopback(address) or netns in self._namespaces.get(address, ())

    def _itself(self, group: FlowGroup, netns: int, entries: int) -> list[tuple[FlowOwner, int]]:
        """Entries of a group that a namespace opened for itself."""
        tenant = None if netns == self._node else self._tenant(netns)
        return [(_whole(netns, tenant), entries)] if tenant is not None else self._by_sockets(group, netns, entries)

    def _has_sockets(self, group: FlowGroup, netns: int) -> bool:
        """Whether any socket of a namespace was seen that leads where a group does."""
        return group.destination is not None and (netns, group.protocol, group.destination) in self._connected

    def _somebody_behind(self, netns: int, address: str) -> FlowOwner:
        """The pod or container is the place; a lone process there need not be the one."""
        place = self._workloads.by_netns.get(netns)
        return FlowOwner(
            key=f"behind {netns}", kind="netns", workload=place, address=address, netns=netns, via=netns
        )  # fmt: skip

    def _by_sockets(self, group: FlowGroup, netns: int, left: int) -> list[tuple[FlowOwner, int]]:
        """Split so many entries of a group by the sockets to the same destination."""
        found = []
        to = (netns, group.protocol, group.destination) if group.destination is not None else None
        ever = self._ever.get(to, {}) if to is not None else {}
        if to is not None and group.state not in WITH_SOCKET:
            opener, most = self._outlived(group, to, tuple(ever))
            if opener is not None and (n := most * left // max(group.entries, 1)):
                left -= n
                found.append((self._process_owner(opener, netns, inferred=True), n))
        for key, vouched in self._vouched.get(group, {}).items():
            if n := min(vouched, left):
                left -= n
                found.append((self._process_owner(key, netns), n))
        if left:
            found.append((self._shared(netns, group.source, ever), left))
        return found

    def _outlived(self, group: FlowGroup, to: Destination, ever: tuple[str, ...]) -> tuple[str | None, int]:
        """Whose entries without a socket are, and how many of a group at most.

        Of the only one who came and went there, else of who made the connects. Nobody's, if others made the connects
        than the one whose sockets were seen. In a full table that one may have nothing left to open.
        """
        makers = self._makers
        if len(ever) == 1 and (*to, ever[0]) not in self._constant:
            if makers is None:
                return ever[0], group.entries
            if makers.contradict(ever[0], to, group.source):
                return None, 0
            return ever[0], self._accounted(ever[0], group, to, makers, sole=True)
        made = makers.maker(to, group.source) if makers is not None else None
        if makers is None or made is None:
            return None, 0
        key, workload = made
        self._representative.setdefault(key, workload)
        return key, self._accounted(key, group, to, makers)

    def _accounted(self, key: str, group: FlowGroup, to: Destination, makers: FlowMakers, sole: bool = False) -> int:
        """How many entries of a group the connects of an owner account for: all where its protocol is not watched.

        sole: it is the only one seen with sockets.
        """
        all_there = self._left.get((group.source, to[2])) if group.protocol == "tcp" else None
        made = makers.connects(key, to, group.source)
        if all_there is None or (sole and all_there.may_be_all(made, makers.dropped)):
            return group.entries
        return all_there.of(group, made)

    def _process_owner(self, key: str, netns: int, *, inferred: bool = False) -> FlowOwner:
        return FlowOwner(key=key, kind="workload", workload=self._representative[key], netns=netns, inferred=inferred)

    def _shared(self, netns: int, source: str, seen: Iterable[str]) -> FlowOwner:
        kind: OwnerKind = "node" if netns == self._node else "netns"
        candidates = tuple(self._representative[key] for key in seen)
        return FlowOwner(key=f"{kind} {netns}", kind=kind, address=source, netns=netns, candidates=candidates)


def _whole(netns: int, tenant: Workload, via: int | None = None) -> FlowOwner:
    """Whoever has a namespace for itself."""
    return FlowOwner(key=f"netns {netns}", kind="workload", workload=tenant, netns=netns, via=via)


def is_loopback(address: str) -> bool:
    """Whether this is an address that every namespace has. Recordings come from strangers: it may be none at all."""
    return address == "::1" or address.startswith("127.")
