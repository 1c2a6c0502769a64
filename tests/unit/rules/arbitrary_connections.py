"""Arbitrary nodes whose connections were watched: well typed, and half of them with clients that come too late."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Connections, Ending, EndRole, Span
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Container, Process, Workload, Workloads

from .arbitrary import COUNTS, NAMESPACES, NUMBERS, PIDS, TEXTS, Dice, Kinds, changing, workloads
from .arbitrary import sockets as any_sockets
from .arbitrary_tracking import addresses, conntrack
from .endings import CONNECTING, spans_of
from .nodes import ages

CLIENTS = ("10.0.0.1", "10.0.0.2", "203.0.113.9", "2001:db8::5", "127.0.0.1")
SERVERS = tuple(Endpoint(address, port) for address in ("10.0.0.2", "127.0.0.1", "203.0.113.80") for port in (80, 8000))
ENDINGS: tuple[Ending, ...] = get_args(Ending)
STATES = ("established", "close-wait", "syn-sent", "time-wait", "close", "x")
LIMITS = (0.01, 0.6, 2.0, 5.0, 60.0, 7_200.0)
FEW = (1, 2, 3, 7, 40)
INSIDE = PIDS[:3]
AGENTS = tuple(f"agent{pid}" for pid in INSIDE)


def watched_recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {
        "connections": connections, "conntrack": conntrack, "addresses": addresses, "sockets": sockets,
        "workloads": owners,
    }  # fmt: skip
    return changing(d, kinds, later, (0.0, 1.0, 5.0, 30.0, 3_600.0), moments)


def connections(d: Dice) -> Connections:
    groups = [*d.several(6, lambda: wild(d)), *(g for _ in range(d.randint(0, 2)) for g in reuse(d))]
    groups += apart(d) if d.random() < 0.3 else []
    by_counters = d.random() < 0.05
    return Connections(
        method="counters" if by_counters else "bpf",
        groups=() if by_counters else tuple(groups),
        watched_seconds=d.one((0.0, 1.0, 3_600.0)),
        other={d.one(ENDINGS): d.one(COUNTS) for _ in range(d.randint(0, 2))} if d.random() < 0.2 else {},
        missed=d.one((0, 0, 0, 7)),
        fallback_reason=d.one((None, *TEXTS)) if by_counters else None,
        missing_capability=d.one((None, "CAP_BPF")) if by_counters else None,
    )


def wild(d: Dice) -> ConnectionGroup:
    ending, n = d.one(ENDINGS), d.one(COUNTS)
    times = {d.one(LIMITS) * d.one((0.5, 1.0, 1.001, 1.2, 30.0)): d.one(FEW) for _ in range(d.randint(0, 3))}
    spans = spans_of(ending, times) if d.random() < 0.8 else (Span(d.one(LIMITS), None, n, float(d.one(NUMBERS))),)
    return ConnectionGroup(
        netns=d.one(NAMESPACES),
        role=d.one(get_args(EndRole)),
        ending=ending,
        state="syn-sent" if ending in CONNECTING else d.one(STATES),
        server=d.one(SERVERS),
        client=d.one((None, *CLIENTS)),
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        comm=d.one(TEXTS),
        process_started_seconds=float(d.one((0, 1_400, 10**6))),
        last_word=d.random() < 0.2,
        unanswered=d.random() < 0.2,
        asked=d.random() < 0.2,
        connections=n,
        spans=spans,
    )


def reuse(d: Dice) -> list[ConnectionGroup]:
    """A server with a timeout, and what its client did after it."""
    limit, late, n = d.one(LIMITS), d.one((0.99, 1.0, 1.05, 1.5, 4.0)), d.one(FEW)
    same = replace(wild(d), state="established", connections=n, last_word=d.random() < 0.2)
    closes = spans_of("closed-here", {limit * d.uniform(1.0, 1.01): 1 for _ in range(n)})
    resets = spans_of("reset-received", {limit * late: n, limit * late * 1.5: 1})
    failed = replace(
        same, role="initiated", ending="reset-received", state=d.one(("established", "close-wait")), spans=resets,
        connections=n + 1, last_word=False, unanswered=d.random() < 0.2, asked=d.random() < 0.5,
    )  # fmt: skip
    there = replace(same, role="accepted", ending="closed-here", spans=closes, owner_pid=d.one((None, *PIDS)))
    after = replace(there, ending="late-data", state="time-wait", spans=(), connections=n + d.one(FEW))
    groups = (replace(same, role="initiated", ending="closed-by-peer", spans=closes), failed, there, after)
    return [g for g in groups if d.random() < 0.7]


def apart(d: Dice) -> list[ConnectionGroup]:
    """Such clients in two namespaces that know of the same addresses: processes of a container, often of one.

    A third one asks the same server, and nothing befalls it.
    """
    found = [
        replace(g, netns=netns, owner_pid=pid, comm=f"agent{pid}") if g.role == "initiated" else replace(g, netns=netns)
        for g in reuse(d)
        for netns, pid in zip(NAMESPACES, INSIDE, strict=False)
    ]
    calm = [replace(g, ending="closed-here", owner_pid=INSIDE[2], comm=f"agent{INSIDE[2]}") for g in found[:1]]
    return [*(g for g in calm if g.role == "initiated"), *found]


def owners(d: Dice) -> Workloads:
    """Of any kind, or with a container that has several processes."""
    found = workloads(d)
    if d.random() < 0.5:
        return found
    container = Container(id="c1", name=d.one(TEXTS), cgroup="/c1", image=None, started=None)
    inside = {pid: Workload(process=Process(pid=pid, comm=f"agent{pid}"), container=container) for pid in INSIDE}
    return replace(found, by_pid={**found.by_pid, **inside})


def sockets(d: Dice) -> Sockets:
    """Of any kind, and some that are kept to such a server."""
    found = any_sockets(d)
    return replace(found, groups=(*found.groups, *d.several(3, lambda: kept(d))))


def kept(d: Dice) -> SocketGroup:
    n = d.one(COUNTS)
    return SocketGroup(
        owner_pid=d.one(PIDS), netns=d.one(NAMESPACES), protocol="tcp", state="established", role="initiated",
        holding="descriptor", endpoint=d.one(SERVERS), sockets=n, ages=ages(n, d.one((0, 3, 40, 10**6))),
    )  # fmt: skip


def later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """So many times as much as at the first moment, or since the collector was started anew."""
    if not isinstance(sample, Connections) or d.random() < 0.2:
        return sample
    times = moment + d.one((0, 1))
    groups = tuple(
        replace(
            g,
            connections=g.connections * times,
            spans=tuple(Span(s.since, s.until, s.connections * times, s.seconds * times) for s in g.spans if times),
        )
        for g in sample.groups
    )
    return replace(sample, groups=groups, watched_seconds=sample.watched_seconds + moment * d.one((0.0, 5.0)))
