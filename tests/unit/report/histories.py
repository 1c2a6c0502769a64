"""Recordings of an invented node over hours: what a chart is drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

PAGE = 4096
MIB = 2**20
GIB = 2**30
START = datetime(2026, 3, 1, 21, 0, tzinfo=UTC)
Reading = tuple[Node, Snapshot]


def node(boot: str = "boot-1") -> Node:
    return Node(hostname="worker-7", kernel="6.1.0", boot_id=boot)


def workload(pod: str, pid: int = 1, comm: str = "main") -> Workload:
    return Workload(
        process=Process(pid=pid, comm=comm),
        container=Container(id=f"{pod:0<64}".replace("/", "-"), name="app", runtime="containerd", cgroup=f"/{pod}"),
        pod=Pod(namespace="payments", name=pod, uid=pod),
    )


def sockets_of(owners: Mapping[str, int], first_pid: int = 100) -> tuple[Sockets, Workloads]:
    """owners: pod name -> bytes. One process each, with one socket for each MiB."""
    pids = {pod: first_pid + n for n, pod in enumerate(owners)}
    groups = tuple(
        SocketGroup(
            owner_pid=pids[pod], netns=pids[pod], protocol="tcp", family=4, state="established", role="initiated",
            holding="descriptor", sockets=1 + value // MIB, memory_bytes=value,
        )
        for pod, value in owners.items()
    )  # fmt: skip
    named = {pid: workload(pod, pid) for pod, pid in pids.items()}
    return Sockets(method="bpf", groups=groups), Workloads(by_pid=named)


def memory(used_bytes: int, sockets: int, limits: tuple[int, int, int] | None = None) -> TcpMemory:
    """limits: low, pressure and max in bytes."""
    low, pressure, most = (limit // PAGE for limit in limits) if limits else (None, None, None)
    return TcpMemory(
        page_size_bytes=PAGE, cpus=4, low_pages=low, pressure_pages=pressure, max_pages=most,
        used_pages=used_bytes // PAGE, orphans=0, alloc_sockets=sockets, inuse_sockets=9, time_wait_sockets=0,
    )  # fmt: skip


def reading(
    seconds: float,
    owners: Mapping[str, int] | None,
    *,
    boot: str = "boot-1",
    booted: float = 0.0,
    unseen: int = 0,
    limits: tuple[int, int, int] | None = None,
    first_pid: int = 100,
    wall_step: float = 0.0,
) -> Reading:
    """One snapshot so long after START. owners None: the sockets collector failed. booted: when, after START."""
    samples: dict[str, AnySample] = {}
    total, number = 0, 0
    if owners is None:
        samples["sockets"] = Failure(code="unreadable", reason="the walk over the sockets was cut off")
    else:
        sockets, workloads = sockets_of(owners, first_pid)
        samples |= {"sockets": sockets, "workloads": workloads}
        total, number = sockets.tcp_memory_bytes, sockets.tcp_sockets
    samples["tcp_memory"] = memory(total + unseen, number + 2, limits)
    wall = START + timedelta(seconds=seconds + wall_step)
    return node(boot), Snapshot(at=Moment(wall, 50_000.0 + seconds - booted), samples=samples)


HOUR = 3600
LIMITS = (4 * GIB, 6 * GIB, 8 * GIB)


def night(every: float = 10.0, hours: float = 6.0) -> Iterator[Reading]:
    """A leak, two that come and go, a late second leak; a gap in the second hour, a reboot in the fourth."""
    for n in range(int(hours * HOUR / every)):
        t = n * every
        if 1.4 * HOUR < t < 1.7 * HOUR or 3.5 * HOUR < t < 3.55 * HOUR:
            continue
        yield reading(t, _owners_at(t), boot="boot-2" if t > 3.5 * HOUR else "boot-1",
                      booted=3.5 * HOUR if t > 3.5 * HOUR else 0.0, unseen=150 * MIB, limits=LIMITS,
                      first_pid=100 + n)  # fmt: skip


def _owners_at(t: float) -> dict[str, int]:
    since_boot = t - 3.5 * HOUR if t > 3.5 * HOUR else t
    wave = int(n) if (n := 220 * MIB * (1 + ((t // 600) * 7 % 10) / 10)) else 0
    owners = {
        "checkout-6f9d": int(since_boot / HOUR * 1.4 * GIB) + 90 * MIB,
        "ingress-0": 500 * MIB + wave,
        "search-7c41": 300 * MIB,
        "mailer-1a2b": int(since_boot % 1800 / 1800 * 250 * MIB),
    }
    if t > 4.5 * HOUR:
        owners["reports-99d8"] = int((t - 4.5 * HOUR) / HOUR * 0.9 * GIB)
    return owners | {f"small-{n}": (n + 1) * 6 * MIB for n in range(12)}
