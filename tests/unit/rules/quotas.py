"""Quotas of CPU time in a few words: who used up how much between moments, and what waited, makes a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, SocketGroup, Sockets
from whodunnet.model.workload import Workloads
from whodunnet.rules.catalogue import catalogue

from .nodes import NODE, group, listener, moment, named

RULE = "cpu-throttled"
ENTRY = catalogue()[RULE]
SHOP = LimitedCgroup(
    path="/pods/shop", quota_us=20_000, period_us=100_000, periods=900, throttled=300, throttled_us=9_000_000, pids=(7,)
)
FULL = replace(listener(7), waiting=129)
Moment = tuple[Sequence[SocketGroup], Sequence[AcceptQueue]]


def requests(n: int = 5, **other: Any) -> SocketGroup:
    """Connections of clients with 100 bytes unread, which have just come."""
    return group("serving", n, **{"age": 0.5, "unread_bytes": 100 * n, **other})


def used(*steps: tuple[int, int], of: LimitedCgroup = SHOP) -> list[LimitedCgroup]:
    """The counters at each moment. steps: periods in which it ran, and in which its time was used up."""
    found = [of]
    for periods, throttled in steps:
        last = found[-1]
        found.append(
            replace(
                last, periods=last.periods + periods, throttled=last.throttled + throttled,
                throttled_us=last.throttled_us + 70_000 * throttled,
            )
        )  # fmt: skip
    return found


def watched(
    series: Sequence[Sequence[LimitedCgroup]],
    groups: Sequence[Sequence[SocketGroup]] = (),
    *,
    queues: Sequence[AcceptQueue] = (),
    dropping: Sequence[Sequence[DroppingSocket]] = (),
    cut: bool = False,
    apart: float = 1.0,
    workloads: Workloads | None = None,
    **quotas: Any,
) -> Recording:
    """series: the cgroups, each at each moment. groups, dropping: of sockets, at each moment; without any, none."""
    moments = max(map(len, series))
    snapshots = []
    for n in range(moments):
        here = tuple(cgroup[n] for cgroup in series if n < len(cgroup))
        samples: dict[str, AnySample] = {
            "cpu_quota": CpuQuotas(**{"version": "v2", "cgroups": here, "read": 4, **quotas}),
            "sockets": Sockets(
                method="bpf", groups=tuple(groups[n]) if groups else (), accept_queues=tuple(queues),
                dropping=tuple(dropping[n]) if dropping else (), dropping_cut=cut,
            ),
            "workloads": workloads if workloads is not None else named(7),
        }  # fmt: skip
        snapshots.append(Snapshot(at=moment(n * apart), samples=samples))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def throttled(*steps: tuple[int, int], unread: Sequence[SocketGroup] = (requests(),), **how: Any) -> Recording:
    """One cgroup, and the same sockets at every moment."""
    return watched([used(*steps)], [unread] * (len(steps) + 1), **how)


def under_quota(recording: Recording, *steps: tuple[int, int]) -> Recording:
    """The same with a quota above pid 7, and its counters at each moment."""
    cgroups = used(*steps)
    snapshots = (
        replace(s, samples={**s.samples, "cpu_quota": CpuQuotas(version="v2", cgroups=(cgroups[n],), read=4)})
        for n, s in enumerate(recording.snapshots)
    )
    return replace(recording, snapshots=tuple(snapshots))
