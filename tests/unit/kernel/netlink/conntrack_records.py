"""ctnetlink records: made from what they should say, and decoded a second time, slowly and in another way."""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS

SEQUENCE = 9
NESTED = 0x8000
NEW, DONE, ERROR = 0x100, 3, 2
ORIGINAL, REPLY, STATUS, PROTOINFO, TIMEOUT, MARK, USE, ID, ZONE = 1, 2, 3, 4, 7, 8, 11, 12, 18
NEWER_ORDER = (ORIGINAL, REPLY, ZONE, STATUS, MARK, ID, USE, TIMEOUT, PROTOINFO)
OLDER_ORDER = (ORIGINAL, REPLY, ZONE, STATUS, TIMEOUT, PROTOINFO, MARK, ID, USE)
"""Of Linux 5.10 and later, and of 5.4 and earlier (ctnetlink_fill_info)."""

TIMEOUTS = {
    "tcp_timeout_syn_sent": 120, "tcp_timeout_established": 432000, "tcp_timeout_time_wait": 120,
    "tcp_timeout_close_wait": 3600, "tcp_timeout_max_retrans": 300, "tcp_timeout_unacknowledged": 300,
    "udp_timeout": 30, "udp_timeout_stream": 120, "icmp_timeout": 30, "icmpv6_timeout": 30, "generic_timeout": 600,
    "sctp_timeout_established": 210, "dccp_timeout_open": 43200, "gre_timeout": 30, "gre_timeout_stream": 180,
}  # fmt: skip


class Flow(NamedTuple):
    """What one entry says. ports: source, destination, source of the reply, None for a protocol without."""

    source: str
    destination: str
    answered_by: str
    source_as: str
    ports: tuple[int, int, int] | None
    protocol: int
    state: int | None
    status: int
    zone: int
    remaining: int | None


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(body: bytes, kind: int = NEW, flags: int = 2, sequence: int = SEQUENCE) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def done(result: int = 0) -> bytes:
    return message(struct.pack("=i", result), DONE)


def packed(flow: Flow, order: Sequence[int] = NEWER_ORDER, extra: Sequence[bytes] = ()) -> bytes:
    """The record, after struct nlmsghdr. extra: further attributes, at its end."""
    ends = flow.ports or (0, 0, 0)
    parts = {
        ORIGINAL: _tuple(flow, flow.source, flow.destination, ends[0], ends[1]),
        REPLY: _tuple(flow, flow.answered_by, flow.source_as, ends[2], ends[0]),
        STATUS: struct.pack(">I", flow.status),
        MARK: bytes(4),
        ID: bytes(4),
        USE: bytes(4),
    }
    if flow.zone:
        parts[ZONE] = struct.pack(">H", flow.zone)
    if flow.remaining is not None:
        parts[TIMEOUT] = struct.pack(">I", flow.remaining)
    if flow.state is not None:
        which = {6: 1, 33: 2, 132: 3}[flow.protocol]
        parts[PROTOINFO] = attribute(which | NESTED, attribute(1, bytes([flow.state])) + attribute(4, bytes(2)))
    nests = (ORIGINAL, REPLY, PROTOINFO)
    body = struct.pack("=BBH", 10 if ":" in flow.source else 2, 0, 0)
    body += b"".join(attribute(k | NESTED * (k in nests), parts[k]) for k in order if k in parts)
    return body + b"".join(extra)


def _tuple(flow: Flow, source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    ends = [ipaddress.ip_address(address).packed for address in (source, destination)]
    kind = 1 if len(ends[0]) == 4 else 3
    addresses = attribute(kind, ends[0]) + attribute(kind + 1, ends[1])
    protocol = attribute(1, bytes([flow.protocol]))
    if flow.ports is not None:
        protocol += attribute(2, struct.pack(">H", source_port)) + attribute(3, struct.pack(">H", destination_port))
    elif flow.protocol == 1:  # id, type, code
        protocol += attribute(4, bytes(2)) + attribute(5, b"\x08") + attribute(6, b"\0")
    return attribute(1 | NESTED, addresses) + attribute(2 | NESTED, protocol)


def unpacked(body: bytes) -> Flow | None:
    """The flow that a record tells of, by building the whole tree of attributes; None if it is malformed."""
    family = {2: 4, 10: 6}.get(body[0]) if len(body) >= 4 else None
    if family is None:
        return None
    try:
        top = dict(tree(body[4:]))
        original, reply = _ends(top[ORIGINAL], family), _ends(top[REPLY], family)
        status = int.from_bytes(top[STATUS][:4], "big") if len(top[STATUS]) >= 4 else _broken()
        protocol = _protocol(top[ORIGINAL])
        _protocol(top[REPLY], needed=False)
    except (KeyError, ValueError):
        return None
    ports = None
    if {2, 3} <= protocol.keys():
        other = _protocol(top[REPLY], needed=False)
        ports = (_two(protocol[2]), _two(protocol[3]), _two(other.get(2, b"\0\0")))
    state = next(iter(dict(tree(next(iter(tree(top[PROTOINFO])))[1])).values()))[0] if PROTOINFO in top else None
    remaining = int.from_bytes(top[TIMEOUT], "big") if TIMEOUT in top else None
    return Flow(*original, *reply, ports, protocol[1][0], state, status, _two(top.get(ZONE, b"\0\0")), remaining)


def tree(data: bytes) -> list[tuple[int, bytes]]:
    """Type and payload of each attribute. Raises ValueError."""
    found = []
    while data:
        length, kind = struct.unpack_from("=HH", data) if len(data) >= 4 else (0, 0)
        if not 4 <= length <= len(data):
            _broken()
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[length + 3 & ~3 :]
    return found


def _broken() -> int:
    raise ValueError("a length points outside")


def _two(data: bytes) -> int:
    return int.from_bytes(data[:2], "big")


def _ends(nest: bytes, family: int) -> tuple[str, str]:
    addresses = dict(tree(dict(tree(nest))[1]))
    kind, size = (1, 4) if family == 4 else (3, 16)
    if {len(addresses[kind]), len(addresses[kind + 1])} != {size}:
        _broken()
    return str(ipaddress.ip_address(addresses[kind])), str(ipaddress.ip_address(addresses[kind + 1]))


def _protocol(nest: bytes, needed: bool = True) -> dict[int, bytes]:
    found = dict(tree(dict(tree(nest))[2]))
    if needed and not found[1]:
        _broken()
    return found


def counted(flows: Sequence[Flow]) -> Counter[tuple[object, ...]]:
    """Entries by what their group says, with the class of their idle time (None: unknown)."""
    return Counter(_group_of(flow) for flow in flows)


def _group_of(flow: Flow) -> tuple[object, ...]:
    port, answered_port = (flow.ports[1], flow.ports[2]) if flow.ports else (0, 0)
    translated = (flow.answered_by, answered_port) != (flow.destination, port)
    return (
        flow.protocol, flow.source, flow.destination, port, (flow.answered_by, answered_port) if translated else None,
        flow.source_as if flow.source_as != flow.source else None, flow.state or 0, bool(flow.status & 2),
        bool(flow.status & 4), bool(flow.status >> 14 & 3), flow.zone, idle_class(flow),
    )  # fmt: skip


def idle_class(flow: Flow) -> int | None:
    """By the rules in words: what the kernel gives a packet of this state, and what is left of it."""
    stream = bool(flow.status & 4)
    given: dict[int, int | None] = {
        6: {1: 120, 3: 432000, 5: 3600, 7: 120}.get(flow.state or 0), 33: {4: 43200}.get(flow.state or 0),
        132: {4: 210}.get(flow.state or 0), 17: 120 if stream else 30, 136: 120 if stream else 30, 1: 30, 58: 30,
        47: 180 if stream else 30,
    }  # fmt: skip
    limit = given.get(flow.protocol, 600)
    if limit is None or flow.remaining is None or flow.remaining > limit:
        return None
    if flow.protocol == 6 and limit > 300 and flow.remaining <= 300:
        return None
    idle = max(limit - flow.remaining - 1, 0)
    return sum(idle >= bound for bound in AGE_BOUNDS_SECONDS)


def as_counted(
    groups: Sequence[FlowGroup], number: Callable[[FlowGroup], tuple[int, int]]
) -> Counter[tuple[object, ...]]:
    """The same of our groups. number: protocol and state of a group as the kernel numbers them."""
    total: Counter[tuple[object, ...]] = Counter()
    for g in groups:
        assert g.destination is not None
        answers = (g.answered_by.address, g.answered_by.port or 0) if g.answered_by else None
        protocol, state = number(g)
        key = (
            protocol, g.source, g.destination.address, g.destination.port or 0, answers, g.source_as, state, g.replied,
            g.assured, g.offloaded, g.zone,
        )  # fmt: skip
        for age, entries in enumerate(g.ages):
            total[(*key, age)] += entries
        total[(*key, None)] += g.idle_unknown
    return +total


PORTS = st.integers(1, 65535)
_V4 = st.sampled_from(["10.0.0.1", "10.0.0.2", "192.168.255.255", "0.0.0.1"])
_V6 = st.sampled_from(["fd00::1", "fd00::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"])


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any flow that a kernel could tell of."""
    address = draw(st.sampled_from([_V4, _V6]))
    protocol = draw(st.sampled_from([1, 6, 6, 6, 17, 17, 33, 47, 50, 58, 132, 136, 253]))
    source, destination = draw(address), draw(address)
    plain = draw(st.booleans())
    answered_by, source_as = (destination, source) if plain else (draw(address), draw(address))
    ports = None
    if protocol in (6, 17, 33, 47, 132, 136):
        source_port, port = draw(PORTS), draw(st.sampled_from([53, 80, 443]))
        ports = (source_port, port, port if plain else draw(PORTS))
    offloaded = draw(st.integers(0, 9)) == 0
    return Flow(
        source, destination, answered_by, source_as, ports, protocol,
        state=draw(st.integers(0, 9)) if protocol in (6, 33, 132) and not offloaded else None,
        status=draw(st.integers(0, 0x3FFF)) | (offloaded << 14),
        zone=draw(st.sampled_from([0, 0, 0, 7, 65535])),
        remaining=None if offloaded else draw(st.integers(0, 200) | st.integers(0, 432001) | st.integers(0, 2**32 - 1)),
    )  # fmt: skip
