"""The connection that is asked about, on this node: who is at its ends, and what was seen of it within the window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_names import End, Names
from whodunnet.model.connection_pairs import Pair, Pairs, pairs_of
from whodunnet.model.connection_places import takes
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Workload, Workloads
from whodunnet.why.sides import Side
from whodunnet.why.subject import PodName, Subject


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One end, and where it is. here: whether on this node. workload: who is there. None: not known."""

    side: Side
    here: bool | None = None
    netns: int | None = None
    workload: Workload | None = None


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """source, destination: None where nobody said. sides: these, and further destinations that were tried.

    pod: whoever the pod that was asked about is here. pod_is_absent: nothing of it was met.
    endpoints: by which a finding may call either end, with those that NAT leads to. addresses: of either end and of the
    pod. owners: workloads at either end, and of the pod; source_owners: those without the destination's. listeners: who
    may be meant by a loopback, of which each network namespace has its own.
    pairs: what was seen of it within the window; None where connections were not watched.
    """

    source: Place | None = None
    destination: Place | None = None
    sides: tuple[Side, ...] = ()
    pod: Workload | None = None
    pod_is_absent: bool = False
    endpoints: frozenset[Endpoint] = frozenset()
    addresses: frozenset[str] = frozenset()
    owners: tuple[Workload, ...] = ()
    source_owners: tuple[Workload, ...] = ()
    listeners: tuple[Workload, ...] = ()
    pairs: tuple[Pair, ...] | None = None

    @property
    def is_unknown(self) -> bool:
        """Nobody said between whom."""
        return not self.places and self.pod is None and not self.pod_is_absent

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(place for place in (self.destination, self.source) if place is not None)

    @property
    def is_elsewhere(self) -> bool:
        """Both ends are named, and neither is on this node."""
        return self.pod is None and len(self.places) == 2 and all(place.here is False for place in self.places)


def flow_of(subject: Subject, recording: Recording) -> Flow:
    """Where the ends of a subject are, by what a recording has."""
    names = Names(recording)
    source, destination = _place(subject.source, names), _place(subject.destination, names)
    of_pod = list(_workloads_of(subject.pod, recording)) if subject.pod is not None else []
    asked = {e for side in subject.sides for e in side.endpoints if e.port is not None}
    endpoints = asked | set(_translated(asked, recording))
    addresses = {a for side in subject.sides for a in side.addresses} | set(_addresses_of(of_pod, recording))
    behind = [place.workload for place in (destination,) if place is not None and place.workload is not None]
    before = [place.workload for place in (source,) if place is not None and place.workload is not None]
    watched = pairs_of(recording)
    seen = None
    if watched is not None and watched.window.total.method == "bpf":
        seen = tuple(_seen(watched, subject, endpoints, addresses, of_pod))
    return Flow(
        source=source,
        destination=destination,
        sides=subject.sides,
        pod=of_pod[0] if of_pod else None,
        pod_is_absent=subject.pod is not None and not of_pod,
        endpoints=frozenset(endpoints),
        addresses=frozenset(addresses),
        owners=(*behind, *before, *of_pod),
        source_owners=(*before, *of_pod),
        listeners=tuple(_listeners(subject.destination, recording)),
        pairs=seen,
    )


def same_owner(one: Workload, other: Workload) -> bool:
    """By pod, else by container, else by process: the first that both are known by."""
    if one.pod is not None and other.pod is not None:
        if one.pod.uid is not None and other.pod.uid is not None:
            return one.pod.uid == other.pod.uid
        return one.pod.name is not None and (one.pod.namespace, one.pod.name) == (other.pod.namespace, other.pod.name)
    if one.container is not None and other.container is not None:
        return one.container.id == other.container.id
    if one.process is None or other.process is None or one.container is not None or other.container is not None:
        return False
    return one.process.pid > 0 and one.process.pid == other.process.pid


def _place(side: Side | None, names: Names) -> Place | None:
    """Of a name that nobody looked up, and of a loopback, nobody knows in which namespace it is."""
    if side is None:
        return None
    if side.is_loopback:
        return Place(side=side, here=True)
    if side.address is None:
        return Place(side=side)
    end = names.server_of((), [Endpoint(side.address, side.port)], None) if side.port is not None else None
    if end is None or end.key == "unknown":
        end = _at_address(side.address, names)
    return Place(side=side, here=end.local, netns=end.netns, workload=end.workload)


def _at_address(address: str, names: Names) -> End:
    """Whoever has it."""
    unseen = ConnectionGroup(
        netns=0, role="accepted", ending="opened", state="", server=Endpoint(None, None), client=address, connections=0
    )
    return names.client_of(unseen)


def _listeners(side: Side | None, recording: Recording) -> Iterator[Workload]:
    """Whoever listens on a loopback endpoint, in any network namespace."""
    sockets, owners = recording.last(Sockets), recording.last(Workloads)
    if side is None or not side.is_loopback or sockets is None or owners is None:
        return
    for queue in sockets.accept_queues:
        takes_it = any(takes(queue.local.address, address) for address in side.addresses)
        if queue.local.port == side.port and takes_it and queue.owner_pid in owners.by_pid:
            yield owners.by_pid[queue.owner_pid]


def _workloads_of(pod: PodName, recording: Recording) -> Iterator[Workload]:
    """The pod, each of its containers and processes, as far as they were met."""
    found: dict[Workload, None] = {}
    for _, sample in recording.series(Workloads):
        tables = (sample.by_netns, sample.by_cgroup_id, sample.by_pid)
        for workload in (w for table in tables for w in table.values()):
            if workload.pod is not None and (workload.pod.namespace, workload.pod.name) == (pod.namespace, pod.name):
                found[workload] = None
    yield from found


def _addresses_of(workloads: Iterable[Workload], recording: Recording) -> Iterator[str]:
    """Of the namespaces that are the workloads' alone: that of the node is everybody's."""
    mine = {w.netns for w in workloads if w.netns is not None}
    alone = {n for _, sample in recording.series(Workloads) for n in sample.by_netns}
    for _, sample in recording.series(Addresses):
        for netns in mine & alone:
            yield from (a.address for a in sample.by_netns.get(netns, ()))


def _translated(asked: set[Endpoint], recording: Recording) -> Iterator[Endpoint]:
    """Where these lead to by NAT, as far as tracked."""
    for _, table in recording.series(Conntrack):
        for g in table.groups:
            if g.destination in asked and g.answered_by is not None and not g.merged:
                yield g.answered_by


def _seen(
    watched: Pairs, subject: Subject, endpoints: set[Endpoint], addresses: set[str], of_pod: list[Workload]
) -> Iterator[Pair]:
    """Pairs of client and server that it is about: by the server, or else by the pod."""
    source, destination = subject.source, subject.destination
    for pair in watched.pairs:
        if destination is None and source is None:
            if of_pod and _is_of(pair, of_pod, addresses):
                yield pair
            continue
        if pair.server not in endpoints and not _by_less(pair, destination):
            continue
        client = pair.client.address
        between = {a for side in subject.sides for a in side.addresses}
        named = source is not None and source.address is not None and client is not None
        if (not named or client in between) and (not of_pod or _is_of(pair, of_pod, addresses)):
            yield pair


def _by_less(pair: Pair, destination: Side | None) -> bool:
    """Of a destination without a port by its address, of a name by its port."""
    if destination is None:
        return False
    if destination.addresses:
        return destination.port is None and pair.server.address in destination.addresses
    return destination.port is not None and destination.port == pair.server.port


def _is_of(pair: Pair, workloads: list[Workload], addresses: set[str]) -> bool:
    ends = [end.workload for end in (pair.client, pair.server_end) if end.workload is not None]
    named = any(same_owner(end, workload) for end in ends for workload in workloads)
    return named or pair.client.address in addresses or pair.server.address in addresses
