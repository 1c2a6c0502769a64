"""The same in a pod on the node's network: it has the node's address, and only its cgroup tells it from the node."""

from __future__ import annotations

from lab.faults.leak_in_containerd_pod import LeakInContainerdPod


class LeakInHostNetworkPod(LeakInContainerdPod):
    host_network = True
