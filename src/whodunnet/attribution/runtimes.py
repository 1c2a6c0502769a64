"""Container, pod and unit of a cgroup: its names, and what the runtimes noted of it.

Notes count only for a container that they cannot be mistaken about: of the pod that the cgroup's name gives, and with
the noted first process in the very same cgroup. A user's own containers are named by that user's notes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from whodunnet.attribution.cgroups import CgroupOwner, find_owner
from whodunnet.attribution.containerd import Containerd
from whodunnet.attribution.crio import Crio
from whodunnet.attribution.docker import Docker
from whodunnet.attribution.kubelet import Kubelet
from whodunnet.attribution.machines import Machines
from whodunnet.attribution.notes import Notes
from whodunnet.attribution.podman import Podman
from whodunnet.attribution.processes import ROOT, Processes
from whodunnet.attribution.runc import Runc
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import CgroupLine, read_cgroup
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean
from whodunnet.model.workload import Container, Workload

_MACHINES: Final = {"nspawn", "lxc"}


class Runtimes:
    """All runtimes of one machine: make a new one for every snapshot."""

    def __init__(self, roots: Roots, boot_time: datetime | None = None) -> None:
        self._roots = roots
        processes = Processes(roots, boot_time)
        self._containerd = Containerd(processes)
        self._docker = Docker(processes)
        self._podman = Podman(processes)
        self._crio = Crio(processes)
        self._runc = Runc(processes)
        self._machines = Machines(roots)
        self._kubelet = Kubelet(roots)

    def attribute(self, lines: tuple[CgroupLine, ...], pid: int | None = None) -> Workload:
        """Container, pod and unit of the cgroups `lines`, in which `pid` is."""
        owner = find_owner(lines)
        if owner.container is None:
            return self._without_id(owner, lines)
        if owner.runtime in _MACHINES:
            started = self._machines.started(owner.container) if owner.runtime == "nspawn" else None
            return Workload(container=_machine(owner, owner.container, owner.runtime, started))
        runtime, notes = self._noted(owner, owner.container, pid)
        pod, name = notes.pod, notes.name
        if owner.pod_uid is not None:
            pod = pod or self._kubelet.pod(owner.pod_uid)
            name = name or self._kubelet.container(owner.container, pod)
        container = Container(
            id=owner.container,
            name=name,
            runtime=runtime,
            cgroup=clean(owner.path, 4096),
            image=notes.image,
            started=notes.started,
        )
        return Workload(container=container, pod=pod)

    def _without_id(self, owner: CgroupOwner, lines: tuple[CgroupLine, ...]) -> Workload:
        """What is known where no cgroup's name is a container's."""
        if owner.pod_uid is not None:
            return Workload(pod=self._kubelet.pod(owner.pod_uid))
        machine = self._machines.of_scope(owner.path)
        if machine is not None:
            return Workload(container=_machine(owner, machine, "nspawn", self._machines.started(machine)))
        running = self._runc.find(lines)
        return Workload(container=running) if running is not None else Workload(unit=owner.unit)

    def _noted(self, owner: CgroupOwner, container: str, pid: int | None) -> tuple[str | None, Notes]:
        """The runtime, and what it noted: the first that has a name for it, else the first that knows of it."""
        nameless = None
        for runtime, notes in self._asked(owner, container, pid):
            if notes is None or not self._agrees(owner, notes):
                continue
            if notes.name is not None:
                return runtime, notes
            nameless = nameless or notes
        return owner.runtime, nameless or Notes()

    def _asked(self, owner: CgroupOwner, container: str, pid: int | None) -> Iterator[tuple[str, Notes | None]]:
        """Every runtime that may have made a cgroup of this name, and its notes."""
        if owner.in_session and owner.user != ROOT:
            yield from self._asked_of_user(owner, container, pid)
            return
        if owner.runtime in (None, "containerd"):
            yield "containerd", self._containerd.find(container, pid)
        if owner.runtime in (None, "docker"):
            yield "docker", self._docker.find(container, owner.pod_uid)
        if owner.runtime == "podman":
            yield "podman", self._podman.find(container, pid)
        if owner.runtime == "cri-o":
            yield "cri-o", self._crio.find(container, pid)

    def _asked_of_user(self, owner: CgroupOwner, container: str, pid: int | None) -> Iterator[tuple[str, Notes | None]]:
        if owner.runtime == "docker" and owner.user is not None:
            yield "docker", self._docker.find_rootless(container, owner.user)
        if owner.runtime == "podman" and owner.user is not None and pid is not None:
            yield "podman", self._podman.find_rootless(container, owner.user, pid)

    def _agrees(self, owner: CgroupOwner, notes: Notes) -> bool:
        """Whether the notes are of the pod, and of the container, that the cgroup's name is of."""
        noted = notes.pod.uid if notes.pod else None
        if noted is not None and owner.pod_uid is not None and noted != owner.pod_uid:
            return False
        if notes.first_pid is None:
            return True
        with suppress(UnreadableError):
            return _same_container(owner, find_owner(read_cgroup(self._roots, notes.first_pid)))
        return True  # it has ended


def _same_container(one: CgroupOwner, other: CgroupOwner) -> bool:
    """Whether both are in the same container's cgroup, not only in two of the same name."""
    if one.container is None or one.container != other.container:
        return False
    return one.path.partition(one.container)[0] == other.path.partition(one.container)[0]


def _machine(owner: CgroupOwner, name: str, runtime: str | None, started: datetime | None) -> Container:
    return Container(id=name, name=name, runtime=runtime, cgroup=clean(owner.path, 4096), started=started)
