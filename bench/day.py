"""A day of a generated node in one recording: its size, what a snapshot costs to store, what it takes to judge it.

250 containers with seven or so groups of sockets each, 2,000 in all. At each snapshot half of the groups with
connections have other numbers of sockets, bytes and ages; the others only get older. Nothing is wrong with it: now and
then one socket's buffer is full, never the memory of the node.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint, SocketGroup, Sockets, in_order
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.recording.header import Header
from whodunnet.recording.recorder import Recorder

CONTAINERS = 250
EVERY_SECONDS = 10
SNAPSHOTS = 24 * 3600 // EVERY_SECONDS
ACTIVE_SHARE = 0.5
BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
NODE = Node(hostname="generated", kernel="6.12.0", boot_id="00000000-0000-4000-8000-000000000000")
RISING, RESTING = ("TCPRcvQDrop", "PruneCalled"), ("TCPMemoryPressures", "TCPAbortOnMemory")
"""Counters of TcpExt of one socket's buffer, and of the memory of all."""


def record_day(path: Path, snapshots: int = SNAPSHOTS) -> dict[str, float]:
    """Write the recording; its size in bytes and the mean and longest time of storing a snapshot."""
    node, taken = GeneratedNode(), []
    with Recorder(path, 10**9) as recorder:
        for number in range(snapshots):
            snapshot = node.snapshot(number * EVERY_SECONDS)
            begin = time.perf_counter()
            recorder.append(snapshot, Header(node=NODE))
            taken.append(time.perf_counter() - begin)
    return {
        "bytes": path.stat().st_size,
        "mean_seconds": sum(taken) / len(taken),
        "longest_seconds": max(taken),
        "groups": len(node.groups),
    }


class GeneratedNode:
    """Always the same node: the dice are seeded."""

    def __init__(self) -> None:
        self._dice = random.Random(1)
        self.groups: list[dict[str, Any]] = []
        self._workloads = {1000 + 37 * n: self._workload(1000 + 37 * n, n) for n in range(CONTAINERS)}
        for n, pid in enumerate(self._workloads):
            self.groups += self._groups(pid, 4_026_532_000 + n)
        self._pressed = [4_026_532_000 + n for n in range(0, CONTAINERS, 20)]
        self._counters = {4_026_532_000 + n: dict.fromkeys((*RISING, *RESTING), 0) for n in range(CONTAINERS)}
        self._active = [self._dice.random() < ACTIVE_SHARE for _ in self.groups]

    def snapshot(self, seconds: float) -> Snapshot:
        """The node so long after the beginning."""
        groups = tuple(
            self._group(fields, active, seconds)
            for fields, active in zip(self.groups, self._active, strict=True)
        )  # fmt: skip
        sockets = in_order(Sockets(method="bpf", groups=groups, time_wait=self._dice.randrange(500), netns_total=251))
        return Snapshot(
            at=Moment(BEGIN + timedelta(seconds=seconds), 1e5 + seconds),
            samples={
                "tcp_memory": self._memory(sockets),
                "kernel_log": KernelLog(source="/dev/kmsg", reaches_back_seconds=9000.0 + seconds),
                "sockets": sockets,
                "workloads": Workloads(by_pid=self._workloads),
            },
        )

    def _workload(self, pid: int, n: int) -> Workload:
        identifier, uid = f"{self._dice.getrandbits(256):064x}", f"{self._dice.getrandbits(128):032x}"
        name = f"app{n % 40}"
        return Workload(
            process=Process(pid=pid, comm=name, exe=f"/app/bin/{name}", started=BEGIN, state="sleeping"),
            container=Container(
                id=identifier, name=name, runtime="containerd", cgroup=f"/kubepods/burstable/pod{uid}/{identifier}",
                image=f"registry.example/team{n % 12}/{name}:1.{n % 9}.0", started=BEGIN,
            ),
            pod=Pod(namespace=f"team{n % 12}", name=f"{name}-{self._dice.getrandbits(40):010x}", uid=uid),
            netns=4_026_532_000 + n,
        )  # fmt: skip

    def _groups(self, pid: int, netns: int) -> Iterator[dict[str, Any]]:
        dice = self._dice
        base = {"owner_pid": pid, "netns": netns, "protocol": "tcp", "family": 4, "holding": "descriptor"}
        here = Endpoint(None, 8080)
        yield {**base, "state": "listen", "role": "listener", "endpoint": here, "sockets": 1}
        yield {**base, "state": "established", "role": "accepted", "endpoint": here, "sockets": dice.randrange(1, 60)}
        for _ in range(dice.randrange(2, 7)):
            peer = Endpoint(f"10.96.{dice.randrange(256)}.{dice.randrange(256)}", dice.choice([443, 5432, 6379]))
            yield {
                **base,
                "state": "established",
                "role": "initiated",
                "endpoint": peer,
                "sockets": dice.randrange(1, 12),
            }
        for protocol in ("udp", "unix"):
            yield {**base, "protocol": protocol, "state": "none", "role": "unconnected", "sockets": 3}

    def _group(self, fields: dict[str, Any], active: bool, seconds: float) -> SocketGroup:
        if fields["state"] != "established":
            return SocketGroup(**fields)
        dice, ages = self._dice, [0] * (len(AGE_BOUNDS_SECONDS) + 1)
        if not active:
            ages[sum(bound <= seconds for bound in AGE_BOUNDS_SECONDS)] = fields["sockets"]
            return SocketGroup(**fields, ages=tuple(ages))
        fields["sockets"] = max(1, fields["sockets"] + dice.choice([-1, 0, 0, 1]))
        for _ in range(fields["sockets"]):
            ages[min(len(ages) - 1, int(dice.expovariate(0.5)))] += 1
        memory = fields["sockets"] * 768 * dice.randrange(1, 5)
        return SocketGroup(
            **fields, ages=tuple(ages), memory_bytes=memory, receive_bytes=memory // 3,
            unsent_bytes=dice.choice([0, 0, 0, 517]),
        )  # fmt: skip

    def _memory(self, sockets: Sockets) -> TcpMemory:
        for netns in self._pressed:
            self._counters[netns] = {name: n + (name in RISING) for name, n in self._counters[netns].items()}
        return TcpMemory(
            page_size_bytes=4096, cpus=8, low_pages=380_000, pressure_pages=510_000, max_pages=760_000,
            used_pages=sockets.tcp_memory_bytes // 4096, under_pressure=False, orphans=self._dice.randrange(9),
            alloc_sockets=sockets.tcp_sockets, inuse_sockets=30, time_wait_sockets=sockets.time_wait,
            counters=dict(self._counters),
            netns_read=CONTAINERS,
        )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(record_day(Path(sys.argv[1]))))
