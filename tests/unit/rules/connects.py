"""Connects that fail, in a few words, and what is said of them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from whodunnet.model.connection_window import sum_groups
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Cleared, Finding, NotChecked, Party
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.rules.catalogue import catalogue

from .endings import SERVER, SERVER_PID, Times, initiated, moments_of, watched
from .nodes import answers, findings, memory_of, parties
from .tracking import OTHER_NETNS, flow, pods, table

LATE = 1.0
"""When a SYN is sent again."""
SECONDS = 10.0
"""How long is watched, unless said otherwise."""


def limit(rule: str, name: str) -> float:
    return catalogue()[rule].limit(name)


def opened(n: int, *, seconds: float = 0.001, **other: Any) -> ConnectionGroup:
    return initiated("opened", {seconds: n}, state="established", **other)


def refused(n: int, *, seconds: float = 0.0, **other: Any) -> ConnectionGroup:
    return initiated("refused", {seconds: n}, **other)


def rejected(n: int, *, seconds: float = 0.0, **other: Any) -> ConnectionGroup:
    return initiated("rejected", {seconds: n}, **other)


def unreachable(times: Times, **other: Any) -> ConnectionGroup:
    """By a message of another kind."""
    return initiated("broken", times, state="syn-sent", **other)


def given_up(n: int, *, seconds: float = 2.0, **other: Any) -> ConnectionGroup:
    return initiated("given-up", {seconds: n}, **other)


def repeated(n: int, *, seconds: float = LATE, **other: Any) -> ConnectionGroup:
    return initiated("syn-retransmitted", {seconds: n}, **other)


def silent(n: int, **other: Any) -> list[ConnectionGroup]:
    """Given up after 2 s, having sent their SYN again after 1 s."""
    return [repeated(n, **other), given_up(n, **other)]


def slow(n: int, *, seconds: float = 1.001, **other: Any) -> list[ConnectionGroup]:
    """Opened by the second SYN."""
    return [repeated(n, **other), opened(n, seconds=seconds, **other)]


def node(*groups: ConnectionGroup, **other: Any) -> Recording:
    """Watched for 10 s in four readings, unless said otherwise."""
    return watched(*groups, **{"seconds": SECONDS, **other})


def timeline(*events: tuple[float, ConnectionGroup], seconds: float = SECONDS) -> Recording:
    """What came at which second, read every second."""
    moments = [sum_groups(g for at, g in events if at <= second) for second in range(int(seconds) + 1)]
    return moments_of(*moments, seconds=seconds)


def translated(asked: Endpoint, *to: Endpoint) -> Conntrack:
    return table(*(flow(asked, 1, answered_by=place) for place in to))


def queue(waiting: int, limit: int = 128, *, at: Endpoint = SERVER) -> AcceptQueue:
    return AcceptQueue(owner_pid=SERVER_PID, netns=OTHER_NETNS, local=at, waiting=waiting, limit=limit)


def overflows(n: int) -> TcpMemory:
    return memory_of(0, counters={OTHER_NETNS: {"ListenOverflows": n}})


def counted(found: Recording, risen: int) -> Recording:
    """With overflows of the server's namespace, from nothing to so many."""
    last = len(found.snapshots) - 1
    shots = (
        replace(s, samples={**s.samples, "tcp_memory": overflows(risen * i // last)})
        for i, s in enumerate(found.snapshots)
    )
    return replace(found, snapshots=tuple(shots))


def said(found: Recording, rule: str) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(found, rule)]


def cleared(found: Recording, rule: str) -> Cleared:
    (answer,) = answers(found, rule)
    assert isinstance(answer, Cleared)
    return answer


def not_checked(found: Recording, rule: str) -> NotChecked:
    (answer,) = answers(found, rule)
    assert isinstance(answer, NotChecked)
    return answer


def named(found: Finding, role: str) -> list[str | None]:
    """Pods in a role."""
    return pods(parties(found, role))


def endpoints(found: Finding) -> list[Endpoint]:
    return [p.endpoint for p in found.parties if isinstance(p.endpoint, Endpoint)]


def effects(some: list[Party]) -> list[str]:
    return [p.effect for p in some if isinstance(p.effect, str)]
