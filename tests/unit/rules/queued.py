"""Nodes with listeners, UDP sockets and counters of their namespace, at several moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whodunnet.model.counters import NAMES, Counters
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Workloads

from .nodes import NETNS, NODE, group, moment, named

KNOWN = tuple(f"{section}.{name}" for section, names in NAMES.items() for name in names)
PORT = 8080


def counters(netns: int = NETNS, unread: int = 0, **values: int) -> Counters:
    """values: TcpExt_ListenOverflows=7."""
    named_so = {name.replace("_", "."): value for name, value in values.items()}
    return Counters(known=KNOWN, by_netns={netns: named_so}, netns_read=1, netns_unread=unread)


def queue(waiting: int = 0, limit: int = 5, pid: int | None = 7, port: int = PORT, **other: Any) -> AcceptQueue:
    return AcceptQueue(
        owner_pid=pid, netns=other.pop("netns", NETNS), local=Endpoint("10.0.0.1", port), waiting=waiting, limit=limit,
        **other,
    )  # fmt: skip


def inside(n: int, *, unchanged: int | None = None, age: float = 60, port: int = PORT) -> SocketGroup:
    """Connections in the queue of a port. unchanged: how many were there at the moment before."""
    return group("accept-not-called", n, age=age, unchanged=unchanged, endpoint=Endpoint(None, port))


def udp(dropped: int, unread: int = 4_000, pid: int | None = 7, port: int = 5_000, **other: Any) -> DroppingSocket:
    return DroppingSocket(
        owner_pid=pid, netns=NETNS, inode=other.pop("inode", 100 + port), local=Endpoint("10.0.0.1", port),
        dropped=dropped, unread_bytes=unread, limit_bytes=4_000, **other,
    )  # fmt: skip


def sockets(*queues: AcceptQueue, groups: Sequence[SocketGroup] = (), **other: Any) -> Sockets:
    return Sockets(method="bpf", accept_queues=queues, groups=tuple(groups), **other)


def node(
    moments: Sequence[tuple[Counters | None, Sockets | None]], *, seconds: float = 3.0,
    workloads: Workloads | None = None, log: KernelLog | None = None,
) -> Recording:  # fmt: skip
    """seconds: from the first moment to the last."""
    step = seconds / max(len(moments) - 1, 1)
    snapshots = []
    for i, (counted, found) in enumerate(moments):
        samples: dict[str, AnySample] = {"workloads": workloads or named(7, 8)}
        samples |= {"counters": counted} if counted is not None else {}
        samples |= {"sockets": found} if found is not None else {}
        samples |= {"kernel_log": log} if log is not None else {}
        snapshots.append(Snapshot(at=moment(i * step), samples=samples))
    return Recording(node=NODE, snapshots=tuple(snapshots))
