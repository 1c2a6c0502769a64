"""Which owner of one snapshot is which of another: by what stays when pids, ids and inode numbers do not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report.owner import Owner

Key = tuple[object, ...]
START_TOLERANCE = timedelta(seconds=2)
"""A start is known to a second, and the kernel may shift the time of boot by another one when its clock is set."""


class Side(msgspec.Struct, frozen=True):
    """Who was there at one moment."""

    at: Moment
    workloads: Workloads

    @property
    def booted(self) -> datetime:
        """By the wall clock of that moment."""
        return self.at.wall - timedelta(seconds=self.at.boot_seconds)


class Lasting:
    """Equal keys are the same owner. Within one boot a process is its pid and start; beyond it, its name and place.

    Containers and pods are their names, so that a restart is seen as one; what is named at one moment only is
    recognised by its id.
    """

    def __init__(self, before: Side, after: Side, *, same_boot: bool) -> None:
        self._same_boot = same_boot
        self._lasting_pids = _lasting_pids(before, after) if same_boot else frozenset()
        self._containers: dict[str, Key] = {}
        self._pods: dict[str, Key] = {}
        self._netns: dict[int, Key] = {}
        seen = [*_every(before.workloads), *_every(after.workloads)]
        for learn in (self._learn_pod, self._learn_container):
            for workload in seen:
                learn(workload)
        for side in (before, after) if same_boot else ():
            for inode, workload in side.workloads.by_netns.items():
                self._netns[inode] = self._of_workload(workload, 0)

    def key(self, owner: Owner, side: int) -> Key:
        """side: 0 before, 1 after."""
        return owner.holding, owner.grouped, self._who(owner, side)

    def netns(self, inode: int, workloads: Workloads) -> Key:
        """A network namespace within one boot. Inode numbers are used again at once, so its inhabitant comes first."""
        workload = workloads.by_netns.get(inode)
        return self._of_workload(workload, 0) if workload else self._netns.get(inode, ("netns", inode))

    def _who(self, owner: Owner, side: int) -> Key:
        if owner.image or owner.state or owner.endpoint_role:
            return owner.image, owner.state, owner.endpoint, owner.endpoint_role
        if owner.unread_pid is not None:
            return ("unread", owner.unread_pid if self._same_boot else None)
        if owner.workload is not None:
            return self._of_workload(owner.workload, side)
        if not self._same_boot or owner.netns is None:
            return ("netns", None)
        return self._netns.get(owner.netns, ("netns", owner.netns))

    def _of_workload(self, workload: Workload, side: int) -> Key:
        if workload.process:
            return self._of_process(workload.process, workload, side)
        if workload.container:
            return self._containers[workload.container.id]
        if workload.pod:
            return self._named(workload.pod)
        return ("unit", workload.unit)

    def _of_process(self, process: Process, workload: Workload, side: int) -> Key:
        if self._same_boot:
            return ("process", process.pid, side if process.pid not in self._lasting_pids else None)
        place = msgspec.structs.replace(workload, process=None)
        return ("process", process.comm, self._of_workload(place, side))

    def _learn_pod(self, workload: Workload) -> None:
        """Keep the best key there is for a pod's uid: it may be named at one of the moments only."""
        pod = workload.pod
        if pod and pod.uid:
            self._pods[pod.uid] = min(_of_pod(pod), self._pods.get(pod.uid, _of_pod(pod)), key=_vagueness)

    def _learn_container(self, workload: Workload) -> None:
        container = workload.container
        if container:
            key = self._of_container(container, workload.pod)
            self._containers[container.id] = min(key, self._containers.get(container.id, key), key=_vagueness)

    def _named(self, pod: Pod) -> Key:
        return self._pods.get(pod.uid or "") or _of_pod(pod)

    def _of_container(self, container: Container, pod: Pod | None) -> Key:
        if container.name and pod and (pod.name or pod.uid):
            return ("container", *self._named(pod), container.name)
        if container.name:
            return ("container of runtime", container.runtime, container.name)
        if container.image and not self._same_boot:
            return ("container of image", container.image)
        return ("container id", container.id)


_KINDS = ("container", "pod", "container of runtime", "container of image", "pod uid", "container id")
"""Names first, then what is less than a name."""


def _vagueness(key: Key) -> tuple[int, ...]:
    return tuple(_KINDS.index(str(part)) for part in key[:2] if part in _KINDS)


def _of_pod(pod: Pod) -> Key:
    return ("pod", pod.namespace, pod.name) if pod.name else ("pod uid", pod.uid)


def marks(owner: Owner) -> Iterator[str]:
    """What a restart changes: the container's id, or the pod's uid where there is no container."""
    workload = owner.workload
    container: Container | None = workload.container if workload else None
    if workload is None or workload.process:
        return
    if container:
        yield container.id
    elif workload.pod and workload.pod.uid:
        yield workload.pod.uid


def _every(workloads: Workloads) -> Iterator[Workload]:
    for table in (workloads.by_pid, workloads.by_netns, workloads.by_cgroup_id):
        yield from table.values()


def _lasting_pids(before: Side, after: Side) -> frozenset[int]:
    """pids that are the same process at both moments."""
    common = before.workloads.by_pid.keys() & after.workloads.by_pid.keys()
    return frozenset(pid for pid in common if _same_process(pid, before, after))


def _same_process(pid: int, before: Side, after: Side) -> bool:
    """Starts are compared on the wall clock and on the boot clock: the wall clock may have been set between."""
    then, now = before.workloads.by_pid[pid].process, after.workloads.by_pid[pid].process
    if then is None or now is None or then.started is None or now.started is None:
        return (then and then.comm) == (now and now.comm)
    shift = now.started - then.started
    return min(abs(shift), abs(shift - (after.booted - before.booted))) <= START_TOLERANCE
