"""What kind of use entries of the table are: short, idle, unanswered, names, or simply busy."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS

Kind = Literal["churn", "idle-established", "unreplied", "dns", "busy"]
WASTEFUL: Final[tuple[Kind, ...]] = ("churn", "idle-established", "unreplied", "dns")
"""Kinds of which fewer would do; whoever has many of the others is only busy."""

YOUNG_SECONDS: Final = 10
"""Entries without a packet for less than this tell how many come and go a second."""
DNS_PORT: Final = 53
TUNNEL_PORTS: Final = frozenset({4789, 8472, 6081})
"""VXLAN and Geneve: one entry for each flow inside, in one direction, so without an answer by design."""
EPHEMERAL_PORT: Final = 32768
"""From here on the kernel chooses ports for clients (net.ipv4.ip_local_port_range)."""

CLOSING: Final = frozenset({"fin-wait", "last-ack", "time-wait", "close"})
DATAGRAMS: Final = frozenset({"udp", "udplite"})
PINGS: Final = frozenset({"icmp", "icmpv6"})


class Part(msgspec.Struct, frozen=True):
    """Entries of a group that are of one kind. young: how many of them had a packet within YOUNG_SECONDS."""

    kind: Kind
    entries: int
    young: int


def parts_of(group: FlowGroup, idle_age: int) -> list[Part]:
    """The kinds in a group; only established connections are divided, by idle_age (seconds, of AGE_BOUNDS_SECONDS).

    What cannot be told to be waste is busy: entries of unknown age, a direction that may be turned round.
    """
    kind = _kind(group)
    if kind != "idle-established":
        return [Part(kind, group.entries, younger_than(group, YOUNG_SECONDS))]
    idle = min(group.idle_for(idle_age), group.entries)
    parts = [Part("idle-established", idle, 0), Part("busy", group.entries - idle, 0)]
    return [part for part in parts if part.entries]


def _kind(group: FlowGroup) -> Kind:
    """By protocol and state; "idle-established" for all established ones."""
    port = group.destination.port if group.destination is not None else None
    if group.offloaded or (group.protocol in DATAGRAMS and port in TUNNEL_PORTS):
        return "busy"
    if group.protocol == "tcp":
        return _kind_of_tcp(group, port)
    if group.protocol not in DATAGRAMS:
        return _kind_of_ping(group) if group.protocol in PINGS else "busy"
    if not group.replied:
        return "unreplied"
    if port == DNS_PORT:
        return "dns"
    return "busy" if group.assured else "churn"


def _kind_of_ping(group: FlowGroup) -> Kind:
    """The next ping has an entry of its own if its identifier is another (ping(8) run anew). Where most were used of
    late they may be the same again and again."""
    if not group.replied:
        return "unreplied"
    over = sum(group.ages) - younger_than(group, YOUNG_SECONDS)
    return "churn" if 2 * over > group.entries else "busy"


def _kind_of_tcp(group: FlowGroup, port: int | None) -> Kind:
    if group.state == "syn-sent" and not group.replied:
        return "unreplied"
    if group.state in CLOSING:
        return "dns" if port == DNS_PORT else "churn"
    if group.state == "established" and group.replied and not _may_be_turned_round(group, port):
        return "idle-established"
    return "busy"


def _may_be_turned_round(group: FlowGroup, port: int | None) -> bool:
    """A connection older than the tracking is entered by its next packet (nf_conntrack_tcp_loose), maybe the server's:
    then each leads to a client's port of its own."""
    return group.merged or (port is not None and port >= EPHEMERAL_PORT and group.entries <= 2)


def timeout_name(group: FlowGroup) -> str:
    """The timeout that a packet gives such entries, by its name in Conntrack.timeouts."""
    if group.protocol in ("tcp", "sctp", "dccp"):
        return f"{group.protocol}_timeout_{group.state.replace('-', '_')}"
    if group.protocol in DATAGRAMS:
        return "udp_timeout_stream" if group.assured else "udp_timeout"
    return f"{group.protocol}_timeout"


def younger_than(group: FlowGroup, seconds: int) -> int:
    """Number of entries with a packet within `seconds`, which must be one of AGE_BOUNDS_SECONDS."""
    return sum(group.ages[: AGE_BOUNDS_SECONDS.index(seconds) + 1])
