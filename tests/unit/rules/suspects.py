"""Nodes with processes near their limits, tables of neighbours, and network devices, at several moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whodunnet.model.descriptors import Descriptors, DescriptorUse
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.links import LinkCounters, Links
from whodunnet.model.neighbours import DeviceNeighbours, Family, Neighbours, NeighbourTable
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Workloads

from .nodes import FROM_BOOT, NETNS, NODE, group, in_container, moment

HOST = 4_026_531_840
POD = in_container("shop", 7)[7]


def node(name: str, readings: Sequence[AnySample], *, seconds: float = 3.0, **also: AnySample) -> Recording:
    """A node of which one collector's readings are known, and what else is given, the same at each moment."""
    step = seconds / max(len(readings) - 1, 1)
    owners = also.pop("workloads", Workloads(by_pid=in_container("shop", 7), by_netns={NETNS: POD}))
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=moment(i * step), samples={"workloads": owners, **also, name: sample})
            for i, sample in enumerate(readings)
        ),
    )


def logged(kind: str, seconds: float) -> KernelLog:
    """A line of the kernel's log, so long after the first moment."""
    return KernelLog(source="/dev/kmsg", reaches_back_seconds=900.0, lines=(LogLine(kind, FROM_BOOT + seconds, "x"),))


# --- Descriptors -------------------------------------------------------------------------------------------------


def use(opened: int, limit: int = 1024, *, pid: int = 7, **other: Any) -> DescriptorUse:
    fields: dict[str, Any] = {"comm": f"app{pid}", "started_seconds": 100.0, "sockets": 250, "files": 4, "other": 2}
    return DescriptorUse(pid=pid, open=opened, limit=limit, **{**fields, **other})


def descriptors(*uses: DescriptorUse, **other: Any) -> Descriptors:
    fields: dict[str, Any] = {"processes": 120, "open_files": 5_000, "max_files": 2_000_000}
    return Descriptors(fullest=uses, **{**fields, **other})


def waiting(n: int, pid: int | None = 7) -> Sockets:
    queue = AcceptQueue(owner_pid=pid, netns=NETNS, local=Endpoint("10.0.0.1", 8080), waiting=n, limit=128)
    return Sockets(method="bpf", groups=(), accept_queues=(queue,))


# --- Neighbours --------------------------------------------------------------------------------------------------


def table(entries: int, fulls: int | None = 0, limit: int | None = 1024, **other: Any) -> NeighbourTable:
    return NeighbourTable(
        entries=entries, max_entries=limit, min_entries=128, soft_max=512, table_fulls=fulls, forced_gcs=0,
        unresolved_discards=0, **other,
    )  # fmt: skip


def place(
    netns: int = NETNS, answered: int = 0, unanswered: int = 0, family: Family = 4, exempt: int = 0, kept: int = 0
) -> DeviceNeighbours:
    """kept: of those without an answer, the addresses that asking() begins with."""
    return DeviceNeighbours(
        netns=netns, device="eth0", family=family, answered=answered, unanswered=unanswered, exempt=exempt,
        asked=tuple(address(i) for i in range(kept)),
    )  # fmt: skip


def address(number: int, network: str = "10.1") -> str:
    return f"{network}.{number // 250}.{number % 250}"


def neighbours(ipv4: NeighbourTable | None, *places: DeviceNeighbours, **other: Any) -> Neighbours:
    return Neighbours(ipv4=ipv4, places=places, places_of=(4,) if places else (), **other)


def asking(n: int, pid: int = 7, network: str = "10.1") -> Sockets:
    """Connects to so many addresses that nobody has answered so far."""
    groups: list[SocketGroup] = [
        group("held-open", 1, pid=pid, state="syn-sent", endpoint=Endpoint(address(i, network), 80)) for i in range(n)
    ]
    return Sockets(method="bpf", groups=tuple(groups))


# --- Devices -----------------------------------------------------------------------------------------------------


def device(number: int = 2, *, sent: int = 100_000, **other: Any) -> LinkCounters:
    return LinkCounters(number=number, **{"rx_packets": sent, "tx_packets": sent, "queue_packets": sent, **other})


def hardware(**changes: Any) -> Links:
    """The node's own device."""
    fields: dict[str, Any] = {"queue": "mq", "carrier_downs": 1, "carrier_changes": 2}
    return Links.of({HOST: {"eth0": device(**{**fields, **changes})}})


def pair(*, pods: dict[str, Any] | None = None, nodes: dict[str, Any] | None = None, **other: Any) -> Links:
    """A pod's device and the other half in the namespace of the node, beside its own device."""
    mine = device(2, kind="veth", peer=9, **{"carrier_downs": 1, "carrier_changes": 2, **(pods or {})})
    theirs = device(9, kind="veth", peer=2, **{"carrier_downs": 1, "carrier_changes": 2, **(nodes or {})})
    return Links.of({HOST: {"eth0": device(1), "veth9": theirs}, NETNS: {"eth0": mine}}, **other)
