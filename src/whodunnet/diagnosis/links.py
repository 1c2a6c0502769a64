"""Which finding may be the cause of which other, and by what the two have to be tied: data, no code.

That a rule may explain another is in catalogue.toml (would_explain); each such pair stands here, once for each tie.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Tie = Literal[
    "whole-node", "no-file-left", "on-this-node", "share-of-it", "packets-dropped", "provider-dropped", "memory-aborts",
    "same-address", "same-listener", "same-queue", "same-connections", "while-held", "walked",
    "same-ports", "no-room-there", "no-cpu", "quota-used-up", "dropped-there", "dropped-on-the-way", "same-device",
]  # fmt: skip
TIES: Final[dict[Tie, str]] = {
    "whole-node": "the cause is a limit of the whole node, and it hurts now",
    "no-file-left": "the whole node had no file left within the window, and who should accept is not stopped or frozen",
    "on-this-node": "the cause is a limit of the whole node, it hurts now, and the far end is on this node too",
    "share-of-it": "the cause ties up at least half of what the consequence is about",
    "packets-dropped": "packets for which the table of the whole node had no room, counted within the window",
    "no-room-there": "the full table is that of the namespace in which all clients are, or the server is",
    "provider-dropped": "packets that the provider dropped within the window, at least half as many as connects failed",
    "memory-aborts": "connections that the kernel gave up for lack of memory, at least half as many as were reset",
    "same-address": "both are about the same address",
    "same-listener": "both are about who listens on one port, or what is sent there",
    "same-queue": "the connections wait in the queue of the owner that the cause names",
    "same-connections": "at least half of the entries are open sockets of the same owner, to the same destination",
    "while-held": "at least half of the packets were dropped on that CPU in readings within which it was held",
    "no-cpu": "the CPUs of the whole node were used up meanwhile, and others waited for one",
    "quota-used-up": "who has the queue had used up its quota of CPU time while it was full",
    "same-ports": "connects from one namespace to one endpoint that found no free port, counted by both",
    "dropped-there": "packets dropped in a namespace that is an end of it, at least half as many as connects failed",
    "dropped-on-the-way": "packets for others, dropped in another namespace, at least half as many as connects failed",
    "same-device": "packets lost by a device that these connections pass, at least half as many as it is about",
    "walked": "at least half of the samples are in functions that go through what the cause counts, for that long",
}
"""What has to be so, besides that the shapes fit and that the cause did not begin when the consequence was over."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """cause_shapes, shapes: of the cause, and of the consequence, only these; empty where any will do.

    Of two links of one pair the first whose cause_shapes fit is the one that counts.
    """

    cause: str
    consequence: str
    tie: Tie
    cause_shapes: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()


AT_RANDOM: Final = ("lost-at-times", "many-addresses")
"""Shapes of unanswered connects that a lack of room makes: it drops whatever comes, at any address."""
ONE_ADDRESS: Final = (
    "nobody-answers", "only-some-clients", "some-endpoints", "lost-at-times", "nobody-there", "rejected-too-seldom",
)  # fmt: skip
"""Of a full accept queue the cause is known, and a client that fails at many addresses has it elsewhere."""
UNANSWERED: Final = ("nobody-answers", "some-endpoints", "lost-at-times", "queue-full")
"""Of unanswered connects to one address, what a listener without room makes."""
QUEUE_FULL: Final = ("stuck", "slow", "small", "full")
NOT_ANSWERED: Final = ("silent", "slow")
"""Of name servers, what lost packets make."""
NO_WAY: Final = ("nobody-answers", "only-some-clients", "many-addresses")
"""Of unanswered connects, what a setting makes that drops all packets of a way."""
CPU_HELD: Final = (
    "syscall-hog", "softirqs-disabled", "softirq-hog", "starved-thread", "steal", "irqs-disabled",
)  # fmt: skip

LOSSES: Final = ("ring-full", "queue-full", "not-sent", "damaged")
"""Of a network device, losses of packets that somebody wanted."""

LINKS: Final = (
    Link(cause="tcp-memory", consequence="resets", tie="memory-aborts",
         shapes=("reset-between", "server-resets", "closed-early")),
    # What is stuck is so by itself; who is slow or has a burst may wait for data that finds no room.
    Link(cause="tcp-memory", consequence="accept-queue", tie="whole-node", shapes=("slow", "small")),
    Link(cause="socket-leak", consequence="tcp-memory", tie="share-of-it"),
    Link(cause="socket-leak", consequence="conntrack-table", tie="same-connections", shapes=("idle-established",)),
    Link(cause="socket-leak", consequence="connect-timeout", tie="same-queue", cause_shapes=("accept-not-called",),
         shapes=("queue-full",)),
    Link(cause="socket-leak", consequence="connect-slow", tie="same-queue", cause_shapes=("accept-not-called",),
         shapes=("queue-full",)),
    Link(cause="socket-leak", consequence="accept-queue", tie="same-queue", cause_shapes=("accept-not-called",),
         shapes=("stuck", "slow", "full")),
    Link(cause="accept-queue", consequence="syn-queue", tie="same-listener", cause_shapes=("stuck", "slow", "full")),
    Link(cause="accept-queue", consequence="connect-timeout", tie="same-listener", cause_shapes=QUEUE_FULL,
         shapes=UNANSWERED),
    Link(cause="accept-queue", consequence="connect-slow", tie="same-listener", cause_shapes=QUEUE_FULL),
    Link(cause="accept-queue", consequence="service-hang", tie="same-listener", cause_shapes=QUEUE_FULL,
         shapes=("dead-endpoint", "black-hole")),
    Link(cause="syn-queue", consequence="connect-timeout", tie="same-listener", cause_shapes=("dropped",),
         shapes=UNANSWERED),
    Link(cause="syn-queue", consequence="connect-slow", tie="same-listener", cause_shapes=("dropped",),
         shapes=("lost-syns",)),
    Link(cause="connect-timeout", consequence="service-hang", tie="same-address", cause_shapes=("queue-full",)),
    Link(cause="service-hang", consequence="connect-timeout", tie="same-address", shapes=ONE_ADDRESS),
    # What found no room left no entry: connects that have one hang for another reason.
    Link(cause="conntrack-table", consequence="service-hang", tie="packets-dropped", shapes=("dropped-here",)),
    Link(cause="conntrack-table", consequence="dns-race", tie="packets-dropped"),
    Link(cause="conntrack-table", consequence="connect-timeout", tie="no-room-there",
         cause_shapes=("other-namespace",), shapes=("table-full",)),
    Link(cause="conntrack-table", consequence="connect-timeout", tie="packets-dropped", shapes=AT_RANDOM),
    Link(cause="conntrack-table", consequence="connect-slow", tie="packets-dropped", shapes=("lost-syns",)),
    Link(cause="provider-limits", consequence="connect-timeout", tie="provider-dropped", cause_shapes=("connections",),
         shapes=AT_RANDOM),
    Link(cause="provider-limits", consequence="connect-slow", tie="provider-dropped", cause_shapes=("connections",),
         shapes=("lost-syns",)),
    Link(cause="rx-stall", consequence="softnet-drops", tie="while-held", cause_shapes=CPU_HELD,
         shapes=("queue-full", "steered")),
    Link(cause="port-exhaustion", consequence="connect-refused", tie="same-ports", shapes=("no-free-port",)),
    Link(cause="dns", consequence="service-hang", tie="same-address", cause_shapes=("silent", "nobody-listens"),
         shapes=("dead-endpoint", "no-endpoints", "black-hole")),
    Link(cause="udp-buffers", consequence="dns", tie="same-listener",
         cause_shapes=("receiver-slow", "receiver-stopped", "receiver-throttled", "receiver-without-cpu"),
         shapes=NOT_ANSWERED),
    Link(cause="provider-limits", consequence="dns", tie="provider-dropped", cause_shapes=("link-local",),
         shapes=NOT_ANSWERED),
    # What found no room left no entry: questions that have one wait for another reason.
    Link(cause="conntrack-table", consequence="dns", tie="packets-dropped", shapes=NOT_ANSWERED),
    Link(cause="cpu-pressure", consequence="softnet-drops", tie="no-cpu", shapes=("queue-full", "steered")),
    Link(cause="cpu-pressure", consequence="accept-queue", tie="no-cpu", shapes=("slow",)),
    Link(cause="cpu-pressure", consequence="udp-buffers", tie="no-cpu",
         shapes=("receiver-slow", "receiver-without-cpu")),
    # Who takes nothing at all does not wait for a period to end.
    Link(cause="cpu-throttled", consequence="accept-queue", tie="quota-used-up", cause_shapes=("accept-queue-full",),
         shapes=("slow", "small")),
    Link(cause="cpu-throttled", consequence="udp-buffers", tie="quota-used-up", shapes=("receiver-throttled",)),
    Link(cause="rp-filter", consequence="connect-timeout", tie="dropped-there", shapes=NO_WAY),
    Link(cause="forwarding-off", consequence="connect-timeout", tie="dropped-on-the-way", shapes=NO_WAY),
    Link(cause="zombie-cgroups", consequence="rx-stall", tie="walked"),
    Link(cause="descriptor-limit", consequence="accept-queue", tie="same-queue", cause_shapes=("exhausted",),
         shapes=("stuck", "slow", "full")),
    Link(cause="descriptor-limit", consequence="accept-queue", tie="no-file-left", cause_shapes=("node-exhausted",),
         shapes=("stuck", "slow", "full")),
    Link(cause="descriptor-limit", consequence="socket-leak", tie="no-file-left", cause_shapes=("node-exhausted",),
         shapes=("accept-not-called",)),
    # A client that fails at many addresses may itself be who fills the table.
    Link(cause="neighbour-table", consequence="connect-timeout", tie="packets-dropped",
         shapes=("lost-at-times", "nobody-there")),
    Link(cause="nic-drops", consequence="retransmits", tie="same-device", cause_shapes=LOSSES,
         shapes=("lost", "timeouts")),
    Link(cause="nic-drops", consequence="connect-slow", tie="same-device", cause_shapes=LOSSES,
         shapes=("lost-syns",)),
    # A receiver without memory drops what it cannot take; one elsewhere has its own.
    Link(cause="tcp-memory", consequence="retransmits", tie="on-this-node", shapes=("lost", "timeouts", "silent")),
    Link(cause="path-mtu", consequence="retransmits", tie="same-address", shapes=("timeouts", "lost", "silent")),
)  # fmt: skip

_BY_PAIR: Final = {
    pair: tuple(link for link in LINKS if (link.cause, link.consequence) == pair)
    for pair in {(link.cause, link.consequence) for link in LINKS}
}


def link_of(cause: str, consequence: str, shape: str | None = None) -> Link | None:
    """By their rules, and the shape of the cause."""
    fit = (how for how in _BY_PAIR.get((cause, consequence), ()) if not how.cause_shapes or shape in how.cause_shapes)
    return next(fit, None)
