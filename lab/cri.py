"""The kubelet's part: pods and containers asked of containerd over CRI v1 (kubernetes: cri-api, api.proto)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # its fork handlers complain about every subprocess

import cri_api as cri
import grpc  # type: ignore[import-untyped]  # it has no types

SHORT_SECONDS = 10
LONG_SECONDS = 60


class RuntimeClient:
    """A connection to one containerd. Every call raises grpc.RpcError when containerd refuses."""

    def __init__(self, socket: Path, logs: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._runtime = cri.RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._logs = logs

    def close(self) -> None:
        self._channel.close()

    def is_ready(self) -> bool:
        """Whether containerd answers, and finds its runtime and its network in order."""
        try:
            answer = self._runtime.Status(cri.StatusRequest(), timeout=SHORT_SECONDS)
        except grpc.RpcError:
            return False
        return all(condition.status for condition in answer.status.conditions)

    def sandbox_config(self, name: str, namespace: str, uid: str, *, host_network: bool) -> cri.PodSandboxConfig:
        """A best-effort pod, as the kubelet asks for it (pkg/kubelet/kuberuntime/kuberuntime_sandbox.go)."""
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
                cgroup_parent=f"/kubepods/besteffort/pod{uid}",
                security_context=cri.LinuxSandboxSecurityContext(namespace_options=spaces),
            ),
        )

    def run_sandbox(self, config: cri.PodSandboxConfig) -> str:
        """Start a pod's sandbox; its id."""
        request = cri.RunPodSandboxRequest(config=config)
        return str(self._runtime.RunPodSandbox(request, timeout=LONG_SECONDS).pod_sandbox_id)

    def sandbox_addresses(self, sandbox: str) -> list[str]:
        """The pod's, that of IPv4 first; none for a pod on the node's network."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        network = self._runtime.PodSandboxStatus(request, timeout=SHORT_SECONDS).status.network
        return [str(address) for address in (network.ip, *(more.ip for more in network.additional_ips)) if address]

    def run_container(
        self,
        sandbox: str,
        config: cri.PodSandboxConfig,
        name: str,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        mounts: Sequence[str],
    ) -> str:
        """Start a container in a pod, which sees these directories of the host, and cannot write to them; its id."""
        spaces = config.linux.security_context.namespace_options
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name),
            image=cri.ImageSpec(image=image),
            command=list(command),
            envs=[cri.KeyValue(key=key, value=value) for key, value in environment.items()],
            labels={**config.labels, "io.kubernetes.container.name": name},
            log_path=f"{name}.log",
            mounts=[cri.Mount(host_path=path, container_path=path, readonly=True) for path in mounts],
            linux=cri.LinuxContainerConfig(
                resources=cri.LinuxContainerResources(),
                security_context=cri.LinuxContainerSecurityContext(namespace_options=spaces),
            ),
        )
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        identifier = str(self._runtime.CreateContainer(request, timeout=LONG_SECONDS).container_id)
        self._runtime.StartContainer(cri.StartContainerRequest(container_id=identifier), timeout=LONG_SECONDS)
        return identifier

    def container_pid(self, container: str) -> int:
        """Process id of a container's first process, as the node sees it."""
        request = cri.ContainerStatusRequest(container_id=container, verbose=True)
        return int(json.loads(self._runtime.ContainerStatus(request, timeout=SHORT_SECONDS).info["info"])["pid"])

    def remove_sandbox(self, sandbox: str) -> None:
        """Stop and remove a pod with all its containers."""
        self._runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), timeout=LONG_SECONDS)
        self._runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), timeout=LONG_SECONDS)
