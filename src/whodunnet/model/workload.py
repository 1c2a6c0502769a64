"""What owns a thing: process, container and pod, as far as known."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Instant


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """pid as in our own /proc.

    state: "running", "sleeping", "uninterruptible", "stopped", "frozen", "zombie", "gone", or None where nobody looked.
    """

    pid: Count
    comm: str
    exe: str | None = None
    started: Instant | None = None
    state: str | None = None
    descriptor_limit: Count | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """id: full container id, or the name where a runtime has no other (runc, nspawn, LXC).

    runtime: "containerd", "docker", "podman", "cri-o", "runc", "nspawn", "lxc", or None where the cgroup's name is one
    that several use and none of them noted it.
    """

    id: str
    name: str | None = None
    runtime: str | None = None
    cgroup: str
    image: str | None = None
    started: Instant | None = None


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """Kubernetes pod; namespace and name are None when only the uid in the cgroup name is known."""

    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    static: bool = False


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """unit: systemd unit. netns: inode number of the network namespace."""

    process: Process | None = None
    container: Container | None = None
    pod: Pod | None = None
    unit: str | None = None
    netns: Count | None = None


class Workloads(msgspec.Struct, frozen=True, tag="workloads", kw_only=True):
    """Who is behind the numbers of the other samples.

    by_pid: owners of sockets. by_netns: one container or pod (without process) that lives in that namespace, only where
    exactly one pod does. sole_by_netns: the process from which all others of a namespace come, if they run one program
    and are in no container. since_by_netns: of both, when the oldest process there started. by_cgroup_id: containers by
    cgroup v2 id. unknown_pids: vanished or unreadable.
    """

    by_pid: dict[Count, Workload] = {}
    by_netns: dict[Count, Workload] = {}
    sole_by_netns: dict[Count, Workload] = {}
    since_by_netns: dict[Count, Instant] = {}
    by_cgroup_id: dict[Count, Workload] = {}
    unknown_pids: Count = 0


def owner_key(pid: int, workload: Workload | None) -> str:
    """The same for all processes of one container or one systemd service, else the process itself."""
    if workload is not None:
        if workload.container is not None:
            return f"container {workload.container.id}"
        if workload.unit is not None and workload.unit.endswith(".service") and workload.process is not None:
            return f"unit {workload.unit} {workload.process.exe}"
        if workload.process is not None and workload.process.started is not None:
            return f"pid {pid} {workload.process.started.isoformat()}"
    return f"pid {pid}"
