"""The sample of the connections collector: how connections began and ended, in groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from whodunnet.model.bounds import INT64_MAX, Count, Seconds
from whodunnet.model.sockets import Endpoint

EndRole = Literal["initiated", "accepted"]
Ending = Literal[
    "opened",  # of initiated ones only: an accepted one is counted when it ends
    "closed-here",  # this end sent the first FIN
    "closed-by-peer",  # the other end did
    "reset-sent",  # this end's process closed with unread data, or asked for it (SO_LINGER, a second connect)
    "reset-received",
    "timed-out",  # the kernel gave up: nothing was acknowledged, or no keep-alive answered
    "broken",  # by another error: an ICMP message, or by hand (ss --kill)
    "refused",  # connecting: answered by a reset
    "rejected",  # connecting: answered by "port unreachable" or the like (ICMP), which is what a firewall sends
    "given-up",  # connecting: its own process closed it before any answer
    "not-sent",  # connecting: it failed here, before the first SYN (no free port)
    "syn-retransmitted",  # connecting: counts SYNs, not connections
    "late-data",  # this end had closed, then data came and was answered by a reset; counts resets
]

CONNECT_CLASSES = 56
IDLE_STEPS: tuple[tuple[float, float], ...] = (
    (10.0, 0.1), (20.0, 0.2), (60.0, 0.5), (120.0, 1.0), (600.0, 5.0), (3600.0, 60.0),
)  # fmt: skip
"""Until which idle time classes are how wide, in seconds; the last width goes on to the end."""
SPANS_MAX = 512  # as many as there are idle classes
AtLeastOne = Annotated[int, Meta(ge=1, le=INT64_MAX)]


class Span(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Connections whose time is in one class. seconds: the sum of their times, so that the mean is exact.

    since, until: bounds of the class (connect_bounds, idle_bounds); the last class has no upper one.
    """

    since: Seconds
    until: Seconds | None
    connections: AtLeastOne
    seconds: Seconds

    @property
    def mean(self) -> float:
        return self.seconds / self.connections


class ConnectionGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One end of connections that share owner, namespace, role, both addresses, the server's port and their ending.

    Each gets exactly one of closed-here, closed-by-peer, or reset-sent, reset-received, timed-out, broken in the state
    "established". What comes in a later state (a reset in "close-wait") comes on top of that, and is harmless where a
    process closed without reading the peer's farewell ("reset-sent" in "close-wait").
    An accepting end that its peer has closed is counted when its own process closes it too.

    owner_pid: who connected, or who used an accepted connection last; None where only softirqs met it: then it is the
        listener's (Sockets.listeners). comm and process_started_seconds (boot clock) are of that moment, so a process
        that is gone keeps its name. A comm without owner_pid: processes of that name, merged for lack of room.
    server: of the end that accepted. client: address of the other, None if merged without it, for lack of room.
    spans: times by class. Of "opened" how long the connect took, if this end was seen connecting; while connecting how
        long it had been tried (1 s of a first repeat that the kernel told of late); of resets received how long it had
        been quiet before the write that they answer, or before they came; of "timed-out" and "broken" since the last
        segment; else since data last moved. Empty if merged without client, and of "late-data".
    last_word: this end (or the peer, of "closed-by-peer") sent something within 0.1 s before it closed, after at least
        0.5 s without data the other way, from which time is counted: a farewell (TLS), or an answer as slow as that.
    unanswered: of resets while open, and of those a client received in "close-wait": it had sent data, the server none.
    asked: of resets received in "close-wait": the peer's farewell was unread, and what was written since is a request.
        Of a connecting end's while open: what it had written was not acknowledged yet, so that the reset answers it.
    """

    netns: Count
    role: EndRole
    ending: Ending
    state: str
    server: Endpoint
    client: str | None = None
    owner_pid: Count | None = None
    comm: str = ""
    process_started_seconds: Seconds = 0.0
    last_word: bool = False
    unanswered: bool = False
    asked: bool = False
    connections: Count
    spans: Annotated[tuple[Span, ...], Meta(max_length=SPANS_MAX)] = ()

    def quantile(self, share: float) -> float | None:
        """The time below which that share of the connections stays: exact within its class, whose mean it is."""
        wanted = share * sum(span.connections for span in self.spans)
        for span in self.spans:
            wanted -= span.connections
            if wanted <= 0:
                return span.mean
        return None


class Connections(msgspec.Struct, frozen=True, tag="connections", kw_only=True, omit_defaults=True):
    """How connections began and ended on the whole node since the collector was started; numbers only grow.

    Scope: TCP of all namespaces. Not seen: a connect that fails before it begins (no route), multipath connections
    but by their subflows, and resets to data after a close where that is only a minisocket (before Linux 6.11).

    method: by "counters" there are no groups, and nothing is known but `counters`, which "bpf" does not read.
    watched_seconds: for how long. started_seconds: since when, on the boot clock: numbers of two samples compare only
    if it is the same in both. other: by ending, what fitted in no group.
    untracked: connections met without room to remember them: their owner or connect time is missing.
    missed: transitions not seen because the program was running on that CPU already.
    late_unassigned: resets to late data at ports of which nobody knows whether they are a server's.
    counters: the kernel's own of each network namespace that could be read, since it was made (collectors.connections).
    netns_unread: how many namespaces could not be.
    fallback_reason, missing_capability: why the method is not "bpf", and the right that would have allowed it.
    """

    method: Literal["bpf", "counters"] = "bpf"
    groups: tuple[ConnectionGroup, ...]
    watched_seconds: Seconds
    started_seconds: Seconds = 0.0
    other: dict[Ending, Count] = {}
    untracked: Count = 0
    missed: Count = 0
    late_unassigned: Count = 0
    counters: dict[Count, dict[str, Count]] = {}
    netns_unread: Count = 0
    fallback_reason: str | None = None
    missing_capability: str | None = None


def ends_in_order(connections: Connections) -> Connections:
    """The same sample with its groups in the order of their text."""
    return msgspec.structs.replace(connections, groups=groups_in_order(connections.groups))


def groups_in_order(groups: Iterable[ConnectionGroup]) -> tuple[ConnectionGroup, ...]:
    """In an order that stays from sample to sample, so that a recording compresses well."""
    return tuple(sorted(groups, key=_group_key))


def _group_key(g: ConnectionGroup) -> tuple[object, ...]:
    return (
        g.netns, g.server.address or "", g.server.port or 0, g.client or "", g.role, g.owner_pid or 0, g.comm,
        g.process_started_seconds, g.ending, g.state, g.last_word, g.unanswered, g.asked,
    )  # fmt: skip


def first_idle_classes() -> tuple[int, ...]:
    """The number of the first class of each of IDLE_STEPS."""
    firsts, begin, first = [], 0.0, 0
    for until, step in IDLE_STEPS:
        firsts.append(first)
        first += round((until - begin) / step)
        begin = until
    return tuple(firsts)


FIRST_IDLE_CLASSES = first_idle_classes()
IDLE_CLASSES = 512
"""From 8,100 s on all are in the last one."""


def idle_bounds(number: int) -> tuple[float, float | None]:
    """Lower and upper bound of an idle class, in seconds."""
    if number >= IDLE_CLASSES - 1:
        return idle_since(IDLE_CLASSES - 1), None
    return idle_since(number), idle_since(number + 1)


def idle_since(number: int) -> float:
    """Lower bound of an idle class, in seconds."""
    row = max(i for i, first in enumerate(FIRST_IDLE_CLASSES) if first <= number)
    begin = IDLE_STEPS[row - 1][0] if row else 0.0
    return round(begin + (number - FIRST_IDLE_CLASSES[row]) * IDLE_STEPS[row][1], 3)


def connect_bounds(number: int) -> tuple[float, float | None]:
    """Lower and upper bound of a connect class, in seconds."""
    return connect_since(number), None if number >= CONNECT_CLASSES - 1 else connect_since(number + 1)


def connect_since(number: int) -> float:
    """Lower bound of a connect class, in seconds: below 2 us is one class."""
    power, half = divmod(number, 2)
    return (2**power + half * 2**power / 2) / 1e6 if number else 0.0
