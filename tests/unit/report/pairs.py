"""Two snapshots of an invented node, a day apart or on two boots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report.comparison import Taken

from .populations import PAGE, WORKLOADS, group, kernel_totals, population

NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b1", virtual_machine=True)
REBOOTED = msgspec.structs.replace(NODE, boot_id="b2")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = 86_400.0
LIMITS: dict[str, Any] = {
    "low_pages": 4_588_506, "pressure_pages": 6_118_009, "max_pages": 9_177_012, "under_pressure": False,
    "max_orphans": 262_144, "max_time_wait": 262_144,
}  # fmt: skip


def taken(seconds: float = 0.0, *, node: Node = NODE, uptime: float = 5_000.0, **samples: AnySample) -> Taken:
    """A snapshot `seconds` after noon."""
    at = Moment(wall=NOON + timedelta(seconds=seconds), boot_seconds=uptime + seconds)
    return node, Snapshot(at=at, samples=samples)


def of_groups(*groups: SocketGroup, **rest: Any) -> Sockets:
    return Sockets(method="bpf", groups=groups, **rest)


def process(pid: int, comm: str = "app", started: datetime | None = NOON, **rest: Any) -> Workload:
    return Workload(process=Process(pid=pid, comm=comm, started=started), **rest)


def container(number: str, name: str | None = "foo", image: str | None = None, runtime: str = "docker") -> Container:
    return Container(id=number * 64, name=name, runtime=runtime, cgroup=f"/{number}", image=image)


def pod(name: str | None = "foo-0", uid: str = "u1") -> Pod:
    return Pod(namespace="payments" if name else None, name=name, uid=uid)


def by_pid(*workloads: Workload) -> Workloads:
    return Workloads(by_pid={w.process.pid: w for w in workloads if w.process})


def a_day() -> tuple[Taken, Taken]:
    """The leak of populations.py grows from 26 sockets to 4,790; a job is gone, a proxy is new."""
    job = group(40, 120, owner_pid=400, netns=1)
    proxy = group(25, 60, owner_pid=500, netns=1, unread_bytes=2_000)
    job_there = {**WORKLOADS.by_pid, 400: process(400, "nightly", unit="nightly.service", netns=1)}
    proxy_there = {**WORKLOADS.by_pid, 500: process(500, "envoy", unit="envoy.service", netns=1)}
    counters = {11: {"TCPAbortOnMemory": 3, "RcvPruned": 100}, 12: {"RcvPruned": 7}, 13: {"RcvPruned": 9}}
    later = {11: {"TCPAbortOnMemory": 2_403, "RcvPruned": 700}, 12: {"RcvPruned": 19}, 13: {"RcvPruned": 2}}
    return (
        whole(0.0, with_group(population(leaked=26), job), job_there, counters),
        whole(DAY, with_group(population(), proxy), proxy_there, later, max_pages=12_000_000),
    )


def whole(
    seconds: float, sockets: Sockets, pids: dict[int, Workload], counters: dict[int, dict[str, int]], **limits: Any
) -> Taken:
    memory = replaced(kernel_totals(sockets), **{**LIMITS, **limits}, counters=counters)
    workloads = Workloads(by_pid=pids, by_netns=WORKLOADS.by_netns)
    return taken(seconds, sockets=sockets, workloads=workloads, tcp_memory=memory)


def replaced(memory: TcpMemory, **fields: Any) -> TcpMemory:
    return msgspec.structs.replace(memory, **fields)


def with_group(sockets: Sockets, one: SocketGroup) -> Sockets:
    return msgspec.structs.replace(sockets, groups=(*sockets.groups, one))


def two_nodes() -> tuple[Taken, Taken]:
    """The other one has larger pages and no BPF."""
    before, (_, after) = a_day()
    sockets = after.samples["sockets"]
    memory = after.samples["tcp_memory"]
    assert isinstance(sockets, Sockets)
    assert isinstance(memory, TcpMemory)
    samples: dict[str, AnySample] = {
        **after.samples,
        "sockets": msgspec.structs.replace(sockets, method="sock_diag", page_size_bytes=16 * PAGE),
        "tcp_memory": replaced(memory, page_size_bytes=16 * PAGE),
    }
    other = Node(hostname="n2\x1b[31m", kernel="6.12.0", boot_id="b2", virtual_machine=False)
    return before, (other, msgspec.structs.replace(after, samples=samples))


def a_failure() -> tuple[Taken, Taken]:
    before, (node, after) = a_day()
    reason = "the kernel refuses BPF programs (\x1bno)"
    failed = Failure(code="missing-capability", reason=reason, missing_capability="CAP_BPF")
    samples: dict[str, AnySample] = {**after.samples, "sockets": failed}
    return before, (node, msgspec.structs.replace(after, samples=samples))
