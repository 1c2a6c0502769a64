"""Who was where while a recording was made: numbers of processes and namespaces, and addresses, are given again."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from math import inf

import msgspec
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint
from whodunnet.model.workload import Workload, Workloads, owner_key

SAME_START_SECONDS = 2.0
"""A process is the same if it started within this time: /proc gives the time of boot in whole seconds."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Who had a namespace for itself, and between which times on the boot clock that is certain.

    since: None where that was not read. first, last: when it was seen there.
    """

    workload: Workload
    since: float | None
    first: float
    last: float


class Processes:
    """Everybody who was looked up, also before an exec."""

    def __init__(self, series: Sequence[tuple[Moment, Workloads]]) -> None:
        self._ever: dict[int, dict[object, tuple[Workload, float | None]]] = defaultdict(dict)
        for at, workloads in series:
            for pid, workload in workloads.by_pid.items():
                key = _process_key(workload)
                if key not in self._ever[pid] and workload.process is not None and not _is_only_a_name(workload):
                    self._ever[pid][key] = workload, boot_seconds(at, workload.process.started)

    def find(self, g: ConnectionGroup) -> Workload | None:
        """The process that a group was met with; after an exec as it was called then, else as it is now."""
        if g.owner_pid is None:
            return None
        return self.find_process(g.owner_pid, g.process_started_seconds, g.comm, g.netns)

    def find_process(self, pid: int, started_seconds: float, comm: str, netns: int | None = None) -> Workload | None:
        """The process that was met with this number; see find. started_seconds: since boot. netns: where known."""
        ever = reversed(self._ever.get(pid, {}).values())
        same = [w for w, began in ever if _is_same(w, began, started_seconds, comm, netns)]
        return next((w for w in same if w.process is not None and w.process.comm == comm), same[0] if same else None)


class Tenants:
    """Who had a namespace for itself. An inode number is given again as soon as it is free."""

    def __init__(self, series: Sequence[tuple[Moment, Workloads]]) -> None:
        self._end = series[-1][0].boot_seconds if series else inf
        self._of: dict[int, dict[object, Tenant]] = defaultdict(dict)
        for at, workloads in series:
            for netns, workload in (workloads.sole_by_netns | workloads.by_netns).items():
                since = boot_seconds(at, workloads.since_by_netns.get(netns))
                now = Tenant(workload=workload, since=since, first=at.boot_seconds, last=at.boot_seconds)
                known = self._of[netns]
                key = _tenant_key(workload)
                known[key] = _both(known[key], now) if key in known else now

    def at(self, netns: int | None, seconds: float) -> Workload | None:
        """Who had it at a time on the boot clock, if that is certain."""
        known = list(self._of.get(netns, {}).values()) if netns is not None else []
        there = [t for t in known if self._since(t, alone=len(known) == 1) <= seconds <= self._until(t)]
        return there[0].workload if len(there) == 1 else None

    def throughout(self, netns: int | None, begin: float) -> Workload | None:
        """Who had it from then on to the end."""
        known = list(self._of.get(netns, {}).values()) if netns is not None else []
        if len(known) != 1 or self._until(known[0]) < inf or self._since(known[0], alone=True) > begin:
            return None
        return known[0].workload

    def _since(self, tenant: Tenant, *, alone: bool) -> float:
        if tenant.since is not None:
            return tenant.since
        return -inf if alone else tenant.first

    def _until(self, tenant: Tenant) -> float:
        return inf if tenant.last == self._end else tenant.last


class Places:
    """Which namespace has an address. One that came or went meanwhile may have been somebody else's before."""

    def __init__(self, samples: Sequence[Addresses]) -> None:
        self._read = bool(samples)
        self._namespaces: dict[str, set[int]] = defaultdict(set)
        self._met: Counter[str] = Counter()
        self._whole = 0
        for sample in samples:
            found = sample.namespaces()
            for address, inodes in found.items():
                self._namespaces[address].update(inodes)
            if not sample.netns_unread and not sample.left_out:
                self._whole += 1
                self._met.update(found.keys())

    def of(self, address: str) -> int | None:
        """The one namespace that has it all the time."""
        inodes = self._namespaces.get(address, ())
        return next(iter(inodes)) if len(inodes) == 1 and self._stays(address) else None

    def is_local(self, address: str) -> bool | None:
        """None where that is not known, or changed."""
        if address in self._namespaces:
            return True if self._stays(address) else None
        return False if self._read else None

    def _stays(self, address: str) -> bool:
        return self._met[address] == self._whole


class Listeners:
    """Who listens, by the newest reading."""

    def __init__(self, recording: Recording) -> None:
        readings = recording.owned_sockets()
        self._newest = readings[-1] if readings else None
        self._queues: dict[tuple[int, int | None], list[AcceptQueue]] = defaultdict(list)
        for q in self._newest[1].accept_queues if self._newest is not None else ():
            self._queues[q.netns, q.local.port].append(q)

    def at(self, netns: int, endpoint: Endpoint, begin: float) -> Workload | None:
        """The one owner that takes what comes there, if it began by then on the boot clock."""
        if self._newest is None:
            return None
        at, sockets, workloads = self._newest
        by_pid = workloads.by_pid if workloads is not None else {}
        queues = [q for q in self._queues.get((netns, endpoint.port), ()) if takes(q.local.address, endpoint.address)]
        # The kernel prefers who listens at this very address (compute_score).
        nearest = [q for q in queues if q.local.address == endpoint.address] or queues
        only = replace(sockets, accept_queues=tuple(nearest))
        pid = only.listeners(lambda pid: owner_key(pid, by_pid.get(pid))).get((netns, endpoint.port))
        workload = by_pid.get(pid) if pid is not None else None
        if workload is None or workload.process is None or _is_only_a_name(workload):
            return None
        began = boot_seconds(at, workload.process.started)
        return workload if began is None or began <= begin else None


def boot_seconds(at: Moment, wall: datetime | None) -> float | None:
    """A time on the boot clock, by both clocks of one moment: the wall clock may be set meanwhile."""
    return at.boot_seconds + (wall - at.wall).total_seconds() if wall is not None else None


def takes(listening: str | None, asked: str | None) -> bool:
    """Whether who listens at one address is asked by the other; "::" may take IPv4 too."""
    if listening is None or asked is None or listening == asked:
        return True
    try:
        at, to = ipaddress.ip_address(listening), ipaddress.ip_address(asked)
    except ValueError:
        return True
    return at.is_unspecified and (at.version == to.version or at.version == 6)


def _is_same(workload: Workload, began: float | None, started_seconds: float, comm: str, netns: int | None) -> bool:
    if began is not None:
        return abs(began - started_seconds) < SAME_START_SECONDS
    named = workload.process is not None and workload.process.comm == comm
    return named and netns is not None and workload.netns in (None, netns)


def _is_only_a_name(workload: Workload) -> bool:
    """What BPF met and nobody looked up: the group says as much."""
    process = workload.process
    looked_up = process is not None and (process.started is not None or process.exe is not None)
    return not looked_up and not (workload.container or workload.pod or workload.unit)


def _process_key(workload: Workload) -> object:
    """The same while it runs one program in one place; its state changes all the time."""
    process, container = workload.process, workload.container
    place = workload.unit, workload.netns, container.id if container is not None else None
    return (process.comm, process.exe, process.started, *place) if process is not None else None


def _tenant_key(workload: Workload) -> object:
    """The same for a pod whose containers change."""
    if workload.pod is not None:
        return workload.pod
    if workload.container is not None:
        return workload.container.id
    return (workload.process.pid, workload.process.exe) if workload.process is not None else None


def _both(before: Tenant, now: Tenant) -> Tenant:
    """One tenant at two moments; of a pod whose containers changed none is the one."""
    same = before.workload.container == now.workload.container
    times = [since for since in (before.since, now.since) if since is not None]
    return Tenant(
        workload=now.workload if same else replace(now.workload, container=None),
        since=min(times, default=None),
        first=before.first,
        last=now.last,
    )
