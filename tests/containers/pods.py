"""Pods on the node, with the cgroup names that the kubelet would give them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from .node import Node

CgroupStyle = Literal["cgroupfs", "systemd"]
SLEEP: Mapping[str, Sequence[str]] = {"app": ["/busybox", "sleep", "1000000"]}


class RunningPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that runs: ids and first processes by container name, as the node sees them. ip: "" on the node's network.

    netns: inode number of its network namespace.
    """

    name: str
    namespace: str
    uid: str
    sandbox: str
    sandbox_pid: int
    containers: dict[str, str]
    pids: dict[str, int]
    ip: str
    netns: int


class MakePod(Protocol):
    """Start a pod; it is removed when the test ends."""

    def __call__(
        self,
        name: str,
        ns: str = "shop",
        containers: Mapping[str, Sequence[str]] = SLEEP,
        host_network: bool = False,
        cgroup_style: CgroupStyle = "cgroupfs",
    ) -> RunningPod: ...


class Pods:
    """Makes pods (it is a MakePod) and removes them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._cri = node.cri
        self._sandboxes: list[str] = []

    def __call__(
        self,
        name: str,
        ns: str = "shop",
        containers: Mapping[str, Sequence[str]] = SLEEP,
        host_network: bool = False,
        cgroup_style: CgroupStyle = "cgroupfs",
    ) -> RunningPod:
        uid = str(uuid.uuid4())
        self._node.pod_uids += [uid, uid.replace("-", "_")]  # as cgroupfs and as systemd names have it
        config = self._cri.sandbox_config(name, ns, uid, _cgroup_parent(uid, cgroup_style), host_network)
        sandbox = self._cri.run_sandbox(config)
        self._sandboxes.append(sandbox)
        made = {title: self._cri.run_container(sandbox, config, title, argv) for title, argv in containers.items()}
        sandbox_pid = self._cri.sandbox_pid(sandbox)
        return RunningPod(
            name=name,
            namespace=ns,
            uid=uid,
            sandbox=sandbox,
            sandbox_pid=sandbox_pid,
            containers=made,
            pids={title: self._cri.container_pid(identifier) for title, identifier in made.items()},
            ip=self._cri.sandbox_address(sandbox),
            netns=Path(f"/proc/{sandbox_pid}/ns/net").stat().st_ino,
        )

    def remove(self) -> None:
        """Stop and remove every pod made so far."""
        while self._sandboxes:
            self._cri.remove_sandbox(self._sandboxes.pop())


def _cgroup_parent(uid: str, style: CgroupStyle) -> str:
    """Cgroup of a best-effort pod (kubernetes: pkg/kubelet/cm/cgroup_manager_linux.go)."""
    if style == "systemd":
        return f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid.replace('-', '_')}.slice"
    return f"/kubepods/besteffort/pod{uid}"
