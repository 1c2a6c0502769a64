"""Connections that begin and end in a few words, watched for a while; who connects to whom makes a Recording.

A pod (`web`, pid 7) connects, unless said otherwise, to a server in another pod (`batch`, pid 8) of the same node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connections import (
    CONNECT_CLASSES,
    IDLE_CLASSES,
    ConnectionGroup,
    Connections,
    Ending,
    EndRole,
    Span,
    connect_bounds,
    idle_bounds,
)
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Workloads

from .nodes import FROM_BOOT, NODE, moment
from .tracking import OTHER_NETNS, OTHER_POD, OWNERS, PLACES, POD, POD_NETNS

SERVER = Endpoint(OTHER_POD, 8000)
FAR_SERVER = Endpoint("198.51.100.7", 443)
FAR_CLIENT = "198.51.100.20"
CLIENT_PID, SERVER_PID = 7, 8
STARTED = FROM_BOOT - 3600.0
"""When nodes.process says that every process was started, on the boot clock."""
CONNECTING = frozenset({"refused", "rejected", "given-up", "not-sent", "syn-retransmitted"})

Times = int | Mapping[float, int]
"""How many connections; or how many of each time in seconds."""


def initiated(ending: Ending, times: Times, *, to: Endpoint = SERVER, **other: Any) -> ConnectionGroup:
    """As the connecting end has it."""
    fields = {"netns": POD_NETNS, "client": POD, "owner_pid": CLIENT_PID, "comm": f"app{CLIENT_PID}", **other}
    return ended("initiated", ending, times, to, **fields)


def accepted(ending: Ending, times: Times, *, at: Endpoint = SERVER, **other: Any) -> ConnectionGroup:
    """As the accepting end has it."""
    fields = {"netns": OTHER_NETNS, "client": POD, "owner_pid": SERVER_PID, "comm": f"app{SERVER_PID}", **other}
    return ended("accepted", ending, times, at, **fields)


def ended(role: EndRole, ending: Ending, times: Times, server: Endpoint, **other: Any) -> ConnectionGroup:
    """A number alone: when is not known (merged, or "late-data"); else each is in the class it belongs to."""
    usual = "syn-sent" if ending in CONNECTING else "established"
    fields = {"state": usual, "process_started_seconds": STARTED, **other}
    if isinstance(times, int):
        return ConnectionGroup(role=role, ending=ending, server=server, connections=times, **fields)
    spans = spans_of(ending, times)
    connections = sum(times.values())
    return ConnectionGroup(role=role, ending=ending, server=server, connections=connections, spans=spans, **fields)


CONNECTED = tuple(map(connect_bounds, range(CONNECT_CLASSES)))
IDLE = tuple(map(idle_bounds, range(IDLE_CLASSES)))


def spans_of(ending: Ending, times: Mapping[float, int]) -> tuple[Span, ...]:
    found: dict[tuple[float, float | None], Span] = {}
    classes = CONNECTED if ending == "opened" else IDLE
    for seconds, n in times.items():
        since, until = next(b for b in classes if b[1] is None or seconds < b[1])
        before = found.get((since, until), Span(since, until, 0, 0.0))
        found[since, until] = Span(since, until, before.connections + n, before.seconds + n * seconds)
    return tuple(sorted(found.values()))


def at_share(group: ConnectionGroup, share: float) -> ConnectionGroup:
    """The same when only this share of its connections had ended."""
    spans = tuple(
        Span(s.since, s.until, n, s.seconds / s.connections * n)
        for s in group.spans
        if (n := int(s.connections * share))
    )
    connections = sum(s.connections for s in spans) if group.spans else int(group.connections * share)
    return replace(group, connections=connections, spans=spans)


def watched(
    *groups: ConnectionGroup,
    seconds: float = 30.0,
    moments: int = 4,
    begin: float = 0.0,
    end: float = 1.0,
    **other: Any,
) -> Recording:
    """All of these end within the window, evenly between these two shares of it. other: see `moments_of`."""
    places = [i / max(moments - 1, 1) for i in range(moments)]
    shares = [min(max((place - begin) / (end - begin), 0.0), 1.0) for place in places]
    return moments_of(*[[at_share(g, share) for g in groups] for share in shares], seconds=seconds, **other)


def moments_of(
    *moments: Sequence[ConnectionGroup],
    seconds: float = 30.0,
    addresses: Addresses | None = PLACES,
    workloads: Workloads = OWNERS,
    sockets: Sequence[SocketGroup] = (),
    listeners: Sequence[AcceptQueue] = (),
    samples: Mapping[str, AnySample] | None = None,
    lost: Mapping[Ending, int] | None = None,
    **connections: Any,
) -> Recording:
    """What the collector had summed at each moment. samples: the same at each. lost: what was only counted, until the
    newest. connections: fields of its sample."""
    step = seconds / max(len(moments) - 1, 1)
    snapshots = []
    for i, groups in enumerate(moments):
        other = {ending: n for ending, n in (lost or {}).items() if i == len(moments) - 1}
        found = Connections(
            **{
                "groups": tuple(g for g in groups if g.connections),
                "watched_seconds": 1.0 + i * step,
                "other": other,
                **connections,
            }
        )
        every: dict[str, AnySample] = {"connections": found, "workloads": workloads, **(samples or {})}
        if addresses is not None:
            every["addresses"] = addresses
        if sockets or listeners:
            every["sockets"] = Sockets(method="bpf", groups=tuple(sockets), accept_queues=tuple(listeners))
        snapshots.append(Snapshot(at=moment(i * step), samples=every))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def listening(pid: int | None = SERVER_PID, at: Endpoint = SERVER, netns: int = OTHER_NETNS) -> AcceptQueue:
    return AcceptQueue(owner_pid=pid, netns=netns, local=at, waiting=0, limit=128)
