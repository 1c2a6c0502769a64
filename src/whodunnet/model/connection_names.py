"""Who is at an end of connections: the process that was met there, else who listens, else who has the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_places import Listeners, Places, Processes, Tenants
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process, Workload, Workloads, owner_key

LATEST = datetime.max.replace(tzinfo=UTC)
NO_PID = 0
BY_THE_SERVER = frozenset({"closed-by-peer", "reset-received"})
"""Endings of the connecting end that the accepting end, if it is on this node, has counted before."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at one end. key: the same for all processes of a container or service, else of the process.

    workload: None where nobody knows, or it is not on this node. local: whether it is on this node, None: not known.
    address: None where several are merged. netns: where it was seen.
    several: more than one process is behind this key by name alone, perhaps of several programs; its pid is 0 then.
    """

    key: str
    workload: Workload | None = None
    local: bool | None = None
    address: str | None = None
    netns: int | None = None
    several: bool = False


class Names:
    """Who is at which end: by the process that was met there, else by who listens, else by who has the address."""

    def __init__(self, recording: Recording) -> None:
        workloads = recording.series(Workloads)
        self._begin = recording.snapshots[0].at.boot_seconds
        self._processes = Processes(workloads)
        self._tenants = Tenants(workloads)
        self._places = Places([sample for _, sample in recording.series(Addresses)])
        self._listeners = Listeners(recording)
        self._by_name = self._count_by_name(recording)

    def client_of(self, g: ConnectionGroup) -> End:
        """The connecting end of a group. Of an accepting group it is known by address only."""
        if g.role == "initiated":
            return self._end(g, self._process(g), g.client)
        if g.client is None:
            return End(key="unknown")
        netns = self._places.of(g.client)
        if netns is None and is_loopback(g.client):
            netns = g.netns
        local = self._places.is_local(g.client) if netns is None else True
        tenant = self._tenant(netns)
        key = f"netns {netns}" if tenant is not None else f"address {g.client}"
        return End(key=key, workload=tenant, local=local, address=g.client, netns=netns)

    def server_of(
        self,
        there: Sequence[ConnectionGroup],
        places: Sequence[Endpoint],
        client_netns: int | None,
        here: Sequence[ConnectionGroup] = (),
    ) -> End:
        """The accepting end; only where that is, if several owners share it who are not one server's workers.

        here: groups of the connecting end. What a server ended that was not met at this endpoint of this node, another
        has answered (NAT: a sidecar).
        """
        ends = self._owners(there) if there else _oldest(self._at(place, client_netns) for place in places)
        if len(ends) != 1:
            netns = {g.netns for g in there}
            return End(key="unknown", local=True if there else None, netns=netns.pop() if len(netns) == 1 else None)
        if not there and ends[0].local and any(g.ending in BY_THE_SERVER for g in here):
            return End(key="unknown")
        return ends[0]

    def _owners(self, there: Sequence[ConnectionGroup]) -> list[End]:
        """Who accepted; of several processes who listens for them, if that is their parent."""
        met = [g for g in there if g.owner_pid is not None] or list(there)
        ends = _oldest(map(self._accepting, met))
        if len({(g.owner_pid, g.process_started_seconds) for g in met}) == 1:
            return ends
        begin = min(g.process_started_seconds for g in met)
        parents = [self._listening(g, begin) for g in met]
        workers = [self._accepting(g) for g in met]
        if all(p is not None and _is_of(p, w) for p, w in zip(parents, workers, strict=True)):
            return _oldest(p for p in parents if p is not None)
        return ends

    def _listening(self, g: ConnectionGroup, begin: float) -> End | None:
        """Who listens where a group was accepted, and did by then."""
        workload = self._listeners.at(g.netns, g.server, begin)
        return self._end(g, workload, g.server.address) if workload is not None else None

    def _accepting(self, g: ConnectionGroup) -> End:
        workload = self._process(g)
        if workload is not None:
            return self._end(g, workload, g.server.address)
        listening = self._listening(g, self._begin)
        if listening is not None and g.comm in ("", _comm(listening)):
            return listening
        return self._end(g, self._tenant(g.netns), g.server.address)

    def _at(self, place: Endpoint, client_netns: int | None) -> End:
        """Who listens at an endpoint on this node; else only the address."""
        if place.address is None:
            return End(key="unknown")
        netns = client_netns if is_loopback(place.address) else self._places.of(place.address)
        if netns is None:
            local = self._places.is_local(place.address)
            return End(key=f"address {place.address}", local=local, address=place.address)
        found = End(key=f"netns {netns}", workload=self._tenant(netns), local=True, address=place.address, netns=netns)
        listening = self._listeners.at(netns, place, self._begin)
        if listening is None or listening.process is None:
            return found
        return replace(found, key=owner_key(listening.process.pid, listening), workload=listening)

    def _end(self, g: ConnectionGroup, workload: Workload | None, address: str | None) -> End:
        """Processes that are gone before anybody looked are one if they had one name: a script that calls curl."""
        found = End(key=f"netns {g.netns}", workload=workload, local=True, address=address, netns=g.netns)
        process = workload.process if workload is not None else None
        if workload is None or process is None:
            return found
        if workload.container is not None or process.started is not None:
            return replace(found, key=owner_key(process.pid, workload))
        several = self._by_name[g.netns, g.comm] > 1
        if several:
            workload = replace(workload, process=replace(process, pid=NO_PID))
        return replace(found, key=f"program {process.comm} in {g.netns}", workload=workload, several=several)

    def _process(self, g: ConnectionGroup) -> Workload | None:
        """The process a group was met with; a pid that another process has now keeps the name taken then."""
        if g.owner_pid is None:
            return None
        found = self._processes.find(g)
        if found is not None:
            return found
        home = self._tenants.at(g.netns, g.process_started_seconds)
        by_name = Workload(process=Process(pid=g.owner_pid, comm=g.comm), netns=g.netns)
        if home is None or not (home.container or home.pod):
            return by_name
        return replace(home, process=by_name.process)

    def _tenant(self, netns: int | None) -> Workload | None:
        return self._tenants.throughout(netns, self._begin)

    def _count_by_name(self, recording: Recording) -> Counter[tuple[int, str]]:
        """Processes of which there is a name only, by namespace and name; numbers of one run only grow."""
        runs = {sample.started_seconds: sample for _, sample in recording.series(Connections)}
        groups = [g for sample in runs.values() for g in sample.groups]
        met = {(g.owner_pid, g.process_started_seconds, g.netns, g.comm): g for g in groups if g.owner_pid is not None}
        found = Counter((g.netns, g.comm) for g in met.values() if self._processes.find(g) is None)
        found.update({(g.netns, g.comm): 2 for g in groups if g.owner_pid is None and g.comm})
        return found


def _oldest(ends: Iterable[End]) -> list[End]:
    """One of each key, the oldest process first: that is the parent of the others."""
    return list({end.key: end for end in sorted(ends, key=_started, reverse=True)}.values())[::-1]


def _started(end: End) -> datetime:
    """When its process was started; the parent of workers first."""
    process = end.workload.process if end.workload is not None else None
    return process.started if process is not None and process.started is not None else LATEST


def _comm(end: End) -> str | None:
    return end.workload.process.comm if end.workload is not None and end.workload.process is not None else None


def _is_of(parent: End, worker: End) -> bool:
    """Whether both run one program in one container or unit, as far as the worker's are known."""
    one, other = parent.workload or Workload(), worker.workload or Workload()
    if one.process is None or other.process is None or one.process.comm != other.process.comm:
        return False
    same = other.process.exe in (None, one.process.exe) and (other.unit or one.unit) == one.unit
    return same and (one.container and one.container.id) == (other.container and other.container.id)
