"""Tracked connections of one pod in a few words, in what state they are; tables of them make a Recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Party
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Pod, Workloads

from .nodes import NODE, ages, in_container, moment

HOST, POD_NETNS, OTHER_NETNS = 4_026_531_840, 4_026_532_100, 4_026_532_200
POD, OTHER_POD, NODE_ADDRESS, REMOTE = "10.244.0.5", "10.244.0.6", "192.0.2.10", "198.51.100.7"
SERVICE = Endpoint("10.96.0.20", 80)
NAMES = Endpoint("10.96.0.10", 53)
ALIVE, DEAD = Endpoint("10.244.7.1", 8080), Endpoint("10.244.7.2", 8080)
WEB, BATCH = in_container("web", 7), in_container("batch", 8)
PLACES = Addresses(
    by_netns={
        HOST: (DeviceAddress(address=NODE_ADDRESS, prefix_length=24, device="eth0"),),
        POD_NETNS: (DeviceAddress(address=POD, prefix_length=24, device="eth0", kind="veth"),),
        OTHER_NETNS: (DeviceAddress(address=OTHER_POD, prefix_length=24, device="eth0", kind="veth"),),
    }
)
OWNERS = Workloads(by_pid={**WEB, **BATCH}, by_netns={POD_NETNS: WEB[7], OTHER_NETNS: BATCH[8]})


def flow(to: Endpoint, n: int, *, idle: float | None = 0, **other: Any) -> FlowGroup:
    """n entries that the pod opened, replied and established. idle: seconds, of all of them; None: not known."""
    fields: dict[str, Any] = {
        "family": 4, "protocol": "tcp", "source": POD, "destination": to, "state": "established", "replied": True,
        "assured": True, "entries": n, "ages": () if idle is None else ages(n, idle),
    }  # fmt: skip
    return FlowGroup(**{**fields, **other})


def connecting(to: Endpoint, n: int, *, idle: float | None = 0, **other: Any) -> FlowGroup:
    """n connects that nobody has answered so far."""
    return flow(to, n, idle=idle, **{"state": "syn-sent", "replied": False, "assured": False, **other})


def question(n: int, *, to: Endpoint = NAMES, answered_by: Endpoint | None = ALIVE, **other: Any) -> FlowGroup:
    """n entries of DNS over UDP, answered, through a Service."""
    return flow(to, n, **{"protocol": "udp", "state": "none", "answered_by": answered_by, **other})


def table(*groups: FlowGroup, **other: Any) -> Conntrack:
    """A table of 10,000 on a kernel that solves races of datagrams."""
    fields: dict[str, Any] = {
        "loaded": True, "netns": HOST, "count": sum(g.entries for g in groups), "max_entries": 10_000,
        "buckets": 10_000, "groups": groups, "method": "ctnetlink",
        "statistics": {"insert_failed": 0, "drop": 0, "clashres": 0, "chainlength": 0},
    }  # fmt: skip
    return Conntrack(**{**fields, **other})


def tables(
    *moments: Conntrack,
    seconds: float = 10.0,
    addresses: Addresses | None = PLACES,
    sockets: Iterable[Sequence[SocketGroup]] = (),
    **samples: AnySample,
) -> Recording:
    """seconds: from the first moment to the last. sockets: groups at each moment, if they were read."""
    step = seconds / max(len(moments) - 1, 1)
    opened = list(sockets)
    snapshots = []
    for i, found in enumerate(moments):
        every: dict[str, AnySample] = {"conntrack": found, "workloads": OWNERS, **samples}
        if addresses is not None:
            every["addresses"] = addresses
        if opened:
            every["sockets"] = Sockets(method="bpf", groups=tuple(opened[i]))
        snapshots.append(Snapshot(at=moment(i * step), samples=every))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def waiting(to: Endpoint, n: int, state: str = "syn-sent") -> SocketGroup:
    """Sockets of the pod towards one destination."""
    return SocketGroup(
        owner_pid=7, netns=POD_NETNS, protocol="tcp", state=state, role="initiated", holding="descriptor", endpoint=to,
        sockets=n,
    )  # fmt: skip


def pods(parties: Iterable[Party]) -> list[str | None]:
    """Names of their pods."""
    return [p.pod.name if isinstance(p.pod, Pod) else None for p in parties]
