"""One pass over the sockets of an invented node, its owners, and the kernel's totals."""

from __future__ import annotations

from typing import Any

from whodunnet.model.sockets import AcceptQueue, Endpoint, SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

PAGE = 4096
FOO = Container(id="933d66190a2b5c0f4ae8", name="foo", runtime="containerd", cgroup="/kubepods/a", image="foo:2.41")
WEB = Container(id="77aa66190a2b5c0f4ae8", name="web", runtime="containerd", cgroup="/kubepods/b", image="nginx:1.27")
FOO_POD = Pod(namespace="payments", name="foo-7d9f", uid="0c1f")
WEB_POD = Pod(namespace="shop", name="web-0", uid="0c20")

WORKLOADS = Workloads(
    by_pid={
        100: Workload(process=Process(pid=100, comm="foo-health"), container=FOO, pod=FOO_POD, netns=11),
        101: Workload(process=Process(pid=101, comm="foo"), container=FOO, pod=FOO_POD, netns=11),
        200: Workload(process=Process(pid=200, comm="nginx"), container=WEB, pod=WEB_POD, netns=12),
        300: Workload(process=Process(pid=300, comm="sshd"), unit="ssh.service", netns=1),
        301: Workload(process=Process(pid=301, comm="nc"), netns=1),
    },
    by_netns={12: Workload(container=WEB, pod=WEB_POD, netns=12)},
)


def group(sockets: int, pages: int = 0, **rest: Any) -> SocketGroup:
    fields: dict[str, Any] = {
        "netns": 11,
        "protocol": "tcp",
        "family": 4,
        "state": "established",
        "role": "initiated",
        "holding": "descriptor",
    }
    return SocketGroup(**(fields | rest), sockets=sockets, memory_bytes=pages * PAGE)


def population(leaked: int = 4790) -> Sockets:
    far_end = Endpoint("203.0.113.9", 8443)
    nobody: dict[str, Any] = {"role": "accepted", "netns": 12}
    return Sockets(
        method="bpf",
        groups=(
            group(leaked, leaked * 751, owner_pid=100, endpoint=far_end, unread_bytes=leaked * 3_000_000),
            group(7, 0, owner_pid=100, state="close-wait", endpoint=far_end),
            group(3, 0, owner_pid=100, protocol="udp", state="none", role="unconnected"),
            group(12, 30, owner_pid=101, role="accepted", endpoint=Endpoint(None, 8080), unsent_bytes=4096),
            group(1, 0, owner_pid=200, netns=12, state="listen", role="listener", endpoint=Endpoint(None, 443)),
            group(800, 900, owner_pid=200, netns=12, role="accepted", endpoint=Endpoint(None, 443)),
            group(9, 36, **nobody, holding="accept-queue", endpoint=Endpoint(None, 443)),
            group(5, 40, **nobody, holding="orphan", state="fin-wait-1"),
            group(2, 8, netns=99, holding="orphan", state="last-ack"),
            group(4, 4, netns=11, holding="no-descriptor"),
            group(2, 2, netns=1, holding="kernel"),
            group(6, 2, owner_pid=300, netns=1, role="accepted", endpoint=Endpoint(None, 22)),
            group(2, 0, owner_pid=301, netns=1, endpoint=Endpoint("2001:db8::1", 80)),
            group(1, 0, owner_pid=999, netns=1, endpoint=None),
            group(30, 0, owner_pid=300, netns=1, protocol="unix", state="none", role="unconnected"),
        ),
        accept_queues=(AcceptQueue(owner_pid=200, netns=12, local=Endpoint("0.0.0.0", 443), waiting=9, limit=511),),
        time_wait=58,
        request_sockets=2,
        other_sockets=10,
        other_memory_bytes=12 * PAGE,
        lost=3,
        not_seen=("Sockets that were never bound and are in flight over a unix socket.",),
    )


def kernel_totals(sockets: Sockets) -> TcpMemory:
    """Two sockets and 300 pages more than were found."""
    return TcpMemory(
        page_size_bytes=PAGE,
        cpus=2,
        used_pages=sockets.tcp_memory_bytes // PAGE + 300,
        orphans=7,
        alloc_sockets=sockets.tcp_sockets + 2,
        inuse_sockets=24,
        time_wait_sockets=58,
    )
