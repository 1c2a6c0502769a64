"""A pod that whodunnet is run in, as `kubectl debug node` and a DaemonSet would make it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cri_api as cri

import whodunnet

from .cri import RuntimeClient
from .images import APP, HOST_MOUNTS
from .node import Node

WHODUNNET = str(Path(sys.executable).with_name("whodunnet"))
_TIMEOUT_SECONDS = 90
_NEEDED = sorted({sys.prefix, sys.base_prefix, str(Path(whodunnet.__file__).parent.parent)} - {"/usr"})
"""Directories of this interpreter and of the package, at the same place in the container."""


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


class DebugPod:
    """One container that sleeps; call it to run a command inside."""

    def __init__(self, client: _Client, container: str) -> None:
        self._client = client
        self._container = container

    def __call__(self, *argv: str) -> Said:
        return self._client.execute(self._container, argv)


@contextmanager
def debug_pod(
    node: Node, *, privileged: bool = True, host_pids: bool = True, host_network: bool = True, host: bool = True
) -> Iterator[DebugPod]:
    """By default what the profile sysadmin makes; not privileged: general. host: the node's root at /host."""
    client = _Client(node.here / "containerd.sock", node.here / "logs")
    uid = str(uuid.uuid4())
    node.pod_uids.append(uid)
    config = client.sandbox_config("debugger", "default", uid, f"/kubepods/besteffort/pod{uid}", host_network)
    security = config.linux.security_context
    security.namespace_options.pid = cri.NODE if host_pids else cri.CONTAINER
    security.privileged = privileged
    sandbox = client.run_sandbox(config)
    try:
        yield DebugPod(client, client.run_debugger(sandbox, config, privileged, host))
    finally:
        client.remove_sandbox(sandbox)
        client.close()


class _Client(RuntimeClient):
    """What debugging needs of CRI and the other tests do not."""

    def run_debugger(self, sandbox: str, config: cri.PodSandboxConfig, privileged: bool, host: bool) -> str:
        mounts = [cri.Mount(host_path=path, container_path=path, readonly=True) for path in (*HOST_MOUNTS, *_NEEDED)]
        mounts += [cri.Mount(host_path="/", container_path="/host", readonly=True)] if host else []
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="debugger"),
            image=cri.ImageSpec(image=APP),
            command=["/busybox", "sleep", "1000000"],
            labels={**config.labels, "io.kubernetes.container.name": "debugger"},
            log_path="debugger.log",
            mounts=mounts,
            linux=cri.LinuxContainerConfig(
                resources=cri.LinuxContainerResources(),
                security_context=cri.LinuxContainerSecurityContext(
                    namespace_options=config.linux.security_context.namespace_options, privileged=privileged
                ),
            ),
        )
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        identifier = str(self._runtime.CreateContainer(request, timeout=_TIMEOUT_SECONDS).container_id)
        self._runtime.StartContainer(cri.StartContainerRequest(container_id=identifier), timeout=_TIMEOUT_SECONDS)
        return identifier

    def execute(self, container: str, argv: Sequence[str]) -> Said:
        """Run a command in a container, as `kubectl exec` does."""
        request = cri.ExecSyncRequest(container_id=container, cmd=list(argv), timeout=_TIMEOUT_SECONDS)
        answer = self._runtime.ExecSync(request, timeout=_TIMEOUT_SECONDS + 10)
        return Said(answer.exit_code, answer.stdout.decode(), answer.stderr.decode())
