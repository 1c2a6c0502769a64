"""Nodes whose programs ask name servers: files, sockets that wait, entries, counters and our own queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.counters import NAMES, Counters
from whodunnet.model.resolvers import Lookup, ResolvConf, Resolvers
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, NameSocket, Sockets
from whodunnet.model.workload import Workloads

from .nodes import NODE, ages, in_container, moment, process
from .tracking import BATCH, HOST, OTHER_NETNS, OTHER_POD, OWNERS, PLACES, POD, POD_NETNS, WEB

SERVER, OTHER = "10.96.0.10", "192.0.2.53"
STUB = "127.0.0.53"
KNOWN = tuple(f"{section}.{name}" for section, names in NAMES.items() for name in names)
__all__ = ["BATCH", "HOST", "NODE", "OTHER_NETNS", "OTHER_POD", "POD_NETNS", "WEB", "in_container", "process"]


def conf(*servers: str, netns: int = POD_NETNS, **other: Any) -> ResolvConf:
    return ResolvConf(netns=netns, pid=7, servers=servers or (SERVER,), **other)


def asking(
    n: int, *, to: str = SERVER, pid: int | None = 7, netns: int = POD_NETNS, first: int = 0, unread_bytes: int = 0
) -> list[NameSocket]:
    """n sockets connected to a name server."""
    return [
        NameSocket(
            owner_pid=pid, netns=netns, inode=1000 + i, local=Endpoint(POD, 40_000 + i), remote=Endpoint(to, 53),
            unread_bytes=unread_bytes,
        )
        for i in range(first, first + n)
    ]  # fmt: skip


def serving(address: str = "0.0.0.0", *, pid: int | None = 8, netns: int = HOST, inode: int = 1) -> NameSocket:
    """A socket that takes questions."""
    return NameSocket(owner_pid=pid, netns=netns, inode=inode, local=Endpoint(address, 53))


def question(n: int, *, idle: float | None = 3, to: str = SERVER, answered: bool = False, **other: Any) -> FlowGroup:
    """n entries of UDP to port 53. idle: seconds since their last packet."""
    fields: dict[str, Any] = {
        "family": 4, "protocol": "udp", "source": POD, "destination": Endpoint(to, 53), "replied": answered,
        "entries": n, "ages": () if idle is None else ages(n, idle),
    }  # fmt: skip
    return FlowGroup(**{**fields, **other})


def lookup(outcome: str = "waiting", *, server: str = SERVER, netns: int = POD_NETNS, **other: Any) -> Lookup:
    fields: dict[str, Any] = {"sent": 2, "seconds": 3.0, "inode": 5000}
    return Lookup(netns=netns, server=server, outcome=outcome, **{**fields, **other})  # type: ignore[arg-type]


def counted(netns: int = POD_NETNS, **values: int) -> Counters:
    """values: NoPorts=7, of Udp; of others with their section."""
    named = {name if "." in name else f"Udp.{name}": n for name, n in values.items()}
    return Counters(known=KNOWN, by_netns={netns: named}, netns_read=1)


def node(
    *moments: Sequence[NameSocket], files: Sequence[ResolvConf] | None = None, seconds: float = 3.0,
    entries: Sequence[FlowGroup] | None = None, rises: dict[str, int] | None = None, netns: int = POD_NETNS,
    lookups: Sequence[Lookup] | None = None, workloads: Workloads = OWNERS, table: dict[str, Any] | None = None,
    addresses: Addresses = PLACES, **sockets: Any,
) -> Recording:  # fmt: skip
    """Sockets at each moment (none: not read). entries: of the table. rises: of counters of Udp of a netns."""
    count = max(len(moments), 2)
    resolvers = Resolvers(
        files=tuple([conf()] if files is None else files), asked=lookups is not None, lookups=tuple(lookups or ())
    )
    snapshots = []
    for i in range(count):
        samples: dict[str, AnySample] = {"resolvers": resolvers, "workloads": workloads, "addresses": addresses}
        if moments:
            samples["sockets"] = Sockets(method="bpf", groups=(), names=tuple(moments[i]), **sockets)
        if entries is not None:
            samples["conntrack"] = Conntrack(loaded=True, netns=HOST, groups=tuple(entries), **(table or {}))
        if rises is not None:
            values = {name: 100 + (n if i == count - 1 else 0) for name, n in rises.items()}
            samples["counters"] = counted(netns, **values)
        snapshots.append(Snapshot(at=moment(i * seconds / (count - 1)), samples=samples))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def home(address: str, netns: int = OTHER_NETNS, device: str = "eth0", kind: str | None = None) -> Addresses:
    """The usual addresses, and one more in a namespace."""
    more = (*PLACES.by_netns.get(netns, ()), DeviceAddress(address=address, prefix_length=32, device=device, kind=kind))
    return Addresses(by_netns={**PLACES.by_netns, netns: more})
