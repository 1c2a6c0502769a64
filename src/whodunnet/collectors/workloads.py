"""The workloads collector: who is behind the pids, network namespaces and cgroups that other samples name.

Needs nothing for name, cgroup and state; CAP_SYS_PTRACE for program, namespace and shim of other users' processes;
CAP_DAC_READ_SEARCH for the state of container runtimes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import ClassVar, Final

import msgspec

from whodunnet.attribution.notes import PAUSE
from whodunnet.attribution.runtimes import Runtimes
from whodunnet.errors import UnreadableError
from whodunnet.kernel import cgroupfs
from whodunnet.kernel.procfs.process import (
    CgroupLine,
    ProcessStat,
    find_processes_in,
    read_boot_time,
    read_cgroup,
    read_executable,
    read_netns,
    read_process,
    read_stat,
)
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Workload, Workloads

START_TOLERANCE_SECONDS: Final = 0.02  # /proc rounds down to a tick of 10 ms
MAX_PROCESSES_PER_NETNS: Final = 1024
_FIRST_PROCESSES: Final = frozenset({1, 2})  # init and kthreadd, which are where the machine itself is
_CAN_BE_FROZEN: Final = {"uninterruptible", "sleeping", "stopped"}  # how a frozen task shows, by kernel and version


class _Attributed(msgspec.Struct, frozen=True):
    """A workload that was looked up, the reading it is valid for, and the cgroups to ask whether it is frozen."""

    stat: ProcessStat
    cgroups: tuple[CgroupLine, ...]
    workload: Workload

    def fits(self, stat: ProcessStat) -> bool:
        """Whether it is still that process and still that program: exec() keeps pid and start, and sets comm."""
        return (self.stat.started_ticks, self.stat.comm) == (stat.started_ticks, stat.comm)


class WorkloadsCollector:
    """Remembers what it found about a process for as long as the process is asked for in every snapshot."""

    name: ClassVar[str] = "workloads"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._known: dict[int, _Attributed] = {}

    @property
    def cgroups(self) -> dict[int, tuple[CgroupLine, ...]]:
        """In which cgroups each process is that was found by the last call of `attribute`."""
        return {pid: known.cgroups for pid, known in self._known.items()}

    def attribute(
        self,
        pids: Iterable[int],
        started: Mapping[int, float] | None = None,
        netns: Iterable[int] = (),
        cgroup_ids: Iterable[int] = (),
        shared_netns: Iterable[int] = (),
    ) -> Workloads:
        """The workloads of processes, of network namespaces (inode numbers) and of cgroups (v2 ids).

        started: by pid, when that process started in seconds since boot. A process that started at another time has
        only inherited the pid, and counts as unknown. shared_netns: those of `netns` that are nobody's alone, whoever
        is seen in them: the node's own. Raises UnreadableError if this is no procfs.
        """
        reading = _Reading(self._roots)
        found: dict[int, _Attributed] = {}
        unknown = 0
        for pid in set(pids):
            try:
                found[pid] = reading.attribute(pid, (started or {}).get(pid), self._known.get(pid))
            except UnreadableError:
                unknown += 1
        tenants, only, since = reading.in_namespaces(frozenset(netns), frozenset(shared_netns), self._known)
        self._known = found | {known.stat.pid: known for known in only.values()}
        return Workloads(
            by_pid={pid: reading.with_state(known) for pid, known in sorted(found.items())},
            by_netns=tenants,
            sole_by_netns={inode: reading.with_state(known) for inode, known in only.items()},
            since_by_netns=since,
            by_cgroup_id=reading.in_cgroups(frozenset(cgroup_ids)),
            unknown_pids=unknown,
        )


class _Reading:
    """One pass over the machine, with what all its processes share."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._boot_time = read_boot_time(roots)
        self._runtimes = Runtimes(roots, self._boot_time)
        self._hierarchies = cgroupfs.read_hierarchies(roots)
        self._frozen: dict[tuple[CgroupLine, ...], bool | None] = {}
        self._owned: dict[tuple[CgroupLine, ...], Workload] = {}

    def attribute(self, pid: int, started_seconds: float | None, known: _Attributed | None) -> _Attributed:
        """One process. Raises UnreadableError if it is gone, hidden, or not the one that started then."""
        stat = read_stat(self._roots, pid)
        if started_seconds is not None and abs(stat.started_seconds - started_seconds) > START_TOLERANCE_SECONDS:
            raise UnreadableError(f"process {pid} is another one by now", code="vanished")
        if known is not None and known.fits(stat):
            return _Attributed(stat, known.cgroups, known.workload)
        cgroups = read_cgroup(self._roots, pid)
        owned = self._workload_of(cgroups, pid)
        process = read_process(self._roots, pid, stat, self._boot_time)
        netns = read_netns(self._roots, pid)
        return _Attributed(stat, cgroups, msgspec.structs.replace(owned, process=process, netns=netns))

    def with_state(self, known: _Attributed) -> Workload:
        """The workload with the process's state of this moment."""
        state = known.stat.state
        if state in _CAN_BE_FROZEN and self._is_frozen(known.cgroups):
            state = "frozen"
        assert known.workload.process is not None
        process = msgspec.structs.replace(known.workload.process, state=state)
        return msgspec.structs.replace(known.workload, process=process)

    def in_namespaces(
        self, namespaces: frozenset[int], shared: frozenset[int], known: Mapping[int, _Attributed]
    ) -> tuple[dict[int, Workload], dict[int, _Attributed], dict[int, datetime]]:
        """The one container or pod of each namespace in which nothing else lives, and the one program of others; since
        when either is there, of which a pod's sandbox is the first."""
        tenants: dict[int, Workload] = {}
        only: dict[int, _Attributed] = {}
        since: dict[int, datetime] = {}
        for inode, pids in find_processes_in(self._roots, namespaces).items() if namespaces else ():
            tenant = self._tenant(pids)
            if tenant is not None:
                tenants[inode] = msgspec.structs.replace(tenant, netns=inode)
            elif inode not in shared:
                program = self._only_program(pids, inode, known)
                if program is not None:
                    only[inode] = program
            if inode in tenants or inode in only:
                oldest = self._since(pids)
                since |= {inode: oldest} if oldest is not None else {}
        return tenants, only, since

    def _since(self, pids: list[int]) -> datetime | None:
        """When the oldest of these processes started."""
        started = []
        for pid in pids:
            with suppress(UnreadableError):  # it ended meanwhile
                started.append(read_stat(self._roots, pid).started_seconds)
        return self._boot_time + timedelta(seconds=min(started)) if started else None

    def in_cgroups(self, identifiers: frozenset[int]) -> dict[int, Workload]:
        """The container, pod or unit of each cgroup that has one."""
        unified = self._hierarchies.unified
        if not identifiers or unified is None:
            return {}
        paths = cgroupfs.find_paths(unified, identifiers)
        places = {inode: (path, cgroupfs.first_process(unified, path)) for inode, path in paths.items()}
        workloads = {inode: self._workload_of((CgroupLine(0, (), path),), pid) for inode, (path, pid) in places.items()}
        return {inode: workload for inode, workload in workloads.items() if workload != Workload()}

    def _tenant(self, pids: list[int]) -> Workload | None:
        """What all these processes belong to: a container, or a pod if it is several containers of one."""
        if len(pids) > MAX_PROCESSES_PER_NETNS:
            return None
        workloads: list[Workload] = []
        for pid in pids:
            try:
                workload = self._workload_of(read_cgroup(self._roots, pid), pid)
            except UnreadableError:
                continue  # it ended meanwhile
            if workload.container is None or (workloads and not _same_tenant(workload, workloads[0])):
                return None
            workloads.append(workload)
        return _merge(workloads)

    def _only_program(self, pids: list[int], netns: int, known: Mapping[int, _Attributed]) -> _Attributed | None:
        """The process that the others come from, if all run one program, and none in a container."""
        if len(pids) > MAX_PROCESSES_PER_NETNS or not _FIRST_PROCESSES.isdisjoint(pids):
            return None
        programs: set[str | None] = set()
        parents: dict[int, int] = {}
        for pid in pids:
            try:
                parents[pid] = read_stat(self._roots, pid).parent
                contained = self._workload_of(read_cgroup(self._roots, pid), pid).container is not None
            except UnreadableError:
                continue  # it ended meanwhile
            programs.add(read_executable(self._roots, pid))
            if contained or len(programs) > 1:
                return None
        first = [pid for pid, parent in parents.items() if parent not in parents]
        if len(first) != 1:
            return None  # none is left; or several were started apart, perhaps two scripts of one interpreter
        try:
            found = self.attribute(first[0], None, known.get(first[0]))
        except UnreadableError:
            return None
        return found if found.workload.netns == netns else None

    def _workload_of(self, cgroups: tuple[CgroupLine, ...], pid: int | None) -> Workload:
        """Container, pod and unit of cgroups, in which `pid` is; looked up once for all their processes."""
        if cgroups not in self._owned:
            self._owned[cgroups] = self._runtimes.attribute(cgroups, pid)
        return self._owned[cgroups]

    def _is_frozen(self, cgroups: tuple[CgroupLine, ...]) -> bool | None:
        if cgroups not in self._frozen:
            self._frozen[cgroups] = cgroupfs.is_frozen(self._hierarchies, cgroups)
        return self._frozen[cgroups]


def _same_tenant(one: Workload, other: Workload) -> bool:
    """Whether two workloads with containers are of one pod, or the same container where there is no pod."""
    if one.pod is None or other.pod is None:
        return one.container == other.container
    return one.pod == other.pod


def _merge(workloads: list[Workload]) -> Workload | None:
    """One workload for several of the same tenant: its container if it is only one beside the pause container."""
    containers = {w.container.id: w.container for w in workloads if w.container is not None}
    if len(containers) > 1:
        containers = {key: container for key, container in containers.items() if container.name != PAUSE}
    if not workloads:
        return None
    return Workload(container=containers.popitem()[1] if len(containers) == 1 else None, pod=workloads[0].pod)
