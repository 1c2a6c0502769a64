"""The kubelet's part: pods and containers asked of containerd over CRI v1 (kubernetes: cri-api, api.proto)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cri_api as cri
import grpc  # type: ignore[import-untyped]

from .images import APP, HOST_MOUNTS

_SHORT_SECONDS = 10
_LONG_SECONDS = 60


class RuntimeClient:
    """A connection to one containerd; every call raises grpc.RpcError when containerd refuses."""

    def __init__(self, socket: Path, logs: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._runtime = cri.RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._logs = logs

    def close(self) -> None:
        self._channel.close()

    def is_ready(self) -> bool:
        """Whether containerd answers and finds its runtime and its network configuration in order."""
        try:
            answer = self._runtime.Status(cri.StatusRequest(), timeout=_SHORT_SECONDS)
        except grpc.RpcError:
            return False
        return all(condition.status for condition in answer.status.conditions)

    def sandbox_config(
        self, name: str, namespace: str, uid: str, cgroup_parent: str, host_network: bool
    ) -> cri.PodSandboxConfig:
        """What the kubelet would ask for (pkg/kubelet/kuberuntime/kuberuntime_sandbox.go)."""
        spaces = cri.NamespaceOption(network=cri.NODE if host_network else cri.POD, pid=cri.CONTAINER, ipc=cri.POD)
        return cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, namespace=namespace, uid=uid),
            hostname="" if host_network else name,
            log_directory=str(self._logs / f"{namespace}_{name}_{uid}"),
            labels={
                "io.kubernetes.pod.name": name,
                "io.kubernetes.pod.namespace": namespace,
                "io.kubernetes.pod.uid": uid,
            },
            linux=cri.LinuxPodSandboxConfig(
                cgroup_parent=cgroup_parent,
                security_context=cri.LinuxSandboxSecurityContext(namespace_options=spaces),
            ),
        )

    def run_sandbox(self, config: cri.PodSandboxConfig) -> str:
        """Start a pod's sandbox; its id."""
        request = cri.RunPodSandboxRequest(config=config)
        return str(self._runtime.RunPodSandbox(request, timeout=_LONG_SECONDS).pod_sandbox_id)

    def run_container(self, sandbox: str, config: cri.PodSandboxConfig, name: str, argv: Sequence[str]) -> str:
        """Start a container of the application image in a pod; its id."""
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name),
            image=cri.ImageSpec(image=APP),
            command=list(argv),
            labels={**config.labels, "io.kubernetes.container.name": name},
            log_path=f"{name}.log",
            mounts=[cri.Mount(host_path=path, container_path=path, readonly=True) for path in HOST_MOUNTS],
            linux=cri.LinuxContainerConfig(
                resources=cri.LinuxContainerResources(),
                security_context=cri.LinuxContainerSecurityContext(
                    namespace_options=config.linux.security_context.namespace_options
                ),
            ),
        )
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        identifier = str(self._runtime.CreateContainer(request, timeout=_LONG_SECONDS).container_id)
        self._runtime.StartContainer(cri.StartContainerRequest(container_id=identifier), timeout=_LONG_SECONDS)
        return identifier

    def container_pid(self, container: str) -> int:
        """Process id of a container's first process, as the node sees it."""
        request = cri.ContainerStatusRequest(container_id=container, verbose=True)
        return _pid(self._runtime.ContainerStatus(request, timeout=_SHORT_SECONDS).info)

    def started_nanoseconds(self, container: str) -> int:
        """When containerd says it started the container, in nanoseconds since 1970."""
        request = cri.ContainerStatusRequest(container_id=container)
        return int(self._runtime.ContainerStatus(request, timeout=_SHORT_SECONDS).status.started_at)

    def sandbox_pid(self, sandbox: str) -> int:
        """Process id of a pod's pause process, as the node sees it."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
        return _pid(self._runtime.PodSandboxStatus(request, timeout=_SHORT_SECONDS).info)

    def sandbox_address(self, sandbox: str) -> str:
        """The pod's address; empty for a pod on the node's network."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        return str(self._runtime.PodSandboxStatus(request, timeout=_SHORT_SECONDS).status.network.ip)

    def sandboxes(self) -> list[str]:
        """Ids of all pods, running or not."""
        answer = self._runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=_SHORT_SECONDS)
        return [sandbox.id for sandbox in answer.items]

    def remove_sandbox(self, sandbox: str) -> None:
        """Stop and remove a pod with all its containers."""
        self._runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), timeout=_LONG_SECONDS)
        self._runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), timeout=_LONG_SECONDS)


def _pid(info: object) -> int:
    """The pid in the verbose part of a status, which containerd fills with JSON."""
    assert hasattr(info, "__getitem__")
    return int(json.loads(info["info"])["pid"])
