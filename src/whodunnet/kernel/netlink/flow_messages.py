"""Decodes single messages of ctnetlink about entries (uapi linux/netfilter/nfnetlink_conntrack.h).

A generic walk: the order of attributes differs between kernels and kinds of messages (ctnetlink_conntrack_event). Dumps
of whole tables are decoded elsewhere, in C.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.conntrack_groups import PROTOCOLS, STATES, state_name
from whodunnet.kernel.netlink.socket import Message
from whodunnet.model.flow_event import FlowEvent, Kind
from whodunnet.model.sockets import Endpoint

IPCTNL_MSG_CT_NEW = 1 << 8 | 0  # NFNL_SUBSYS_CTNETLINK
IPCTNL_MSG_CT_DELETE = 1 << 8 | 2
NLM_F_CREATE = 0x400
TUPLES = 4096
"""Directions that are remembered: a connection is told of about seven times."""

Attributes = dict[int, memoryview]

_NFGENMSG_BYTES = 4  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT = 1, 2, 3, 4, 7  # enum ctattr_type
_COUNTERS_ORIGINAL, _COUNTERS_REPLY, _ID, _ZONE = 9, 10, 12, 18
_ADDRESSES, _PROTOCOL = 1, 2  # enum ctattr_tuple
_V4, _V6 = (1, 2), (3, 4)  # enum ctattr_ip: source, destination
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # enum ctattr_l4proto
_INFO_OF = {6: 1, 33: 2, 132: 3}  # enum ctattr_protoinfo, by protocol; in each of them the state is 1
_STATE = 1
_PACKETS, _BYTES = 1, 2  # enum ctattr_counters
_REPLIED, _ASSURED, _OFFLOADED = 1 << 1, 1 << 2, 3 << 14  # enum ip_conntrack_status


def decode_event(message: Message) -> FlowEvent | None:
    """What one message tells, None if it is not about an entry. Raises MalformedError."""
    if message.kind not in (IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE):
        return None
    if len(message.body) < _NFGENMSG_BYTES:
        raise MalformedError(f"conntrack: a message of {len(message.body)} bytes")
    family = _FAMILIES.get(message.body[0])
    if family is None:
        return None  # bridges track other families
    found = attributes(message.body[_NFGENMSG_BYTES:])
    protocol, source, destination = _tuple(found, _ORIGINAL, family)
    _, answered_by, source_as = _tuple(found, _REPLY, family)
    status = _optional(found, _STATUS, 4) or 0
    return FlowEvent(
        kind=_kind(message),
        family=family,
        protocol=PROTOCOLS.get(protocol) or str(protocol),
        source=source,
        destination=destination,
        answered_by=answered_by,
        source_as=source_as,
        state=_state(found, protocol),
        replied=bool(status & _REPLIED),
        assured=bool(status & _ASSURED),
        offloaded=bool(status & _OFFLOADED),
        zone=_optional(found, _ZONE, 2) or 0,
        entry=_optional(found, _ID, 4),
        remaining_seconds=_optional(found, _TIMEOUT, 4),
        packets=_counted(found, _PACKETS),
        bytes=_counted(found, _BYTES),
    )


def attributes(data: memoryview) -> Attributes:
    """Type -> payload; where a type comes twice the last one counts. Raises MalformedError."""
    found: Attributes = {}
    offset, end = 0, len(data)
    while offset < end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset) if end - offset >= _ATTRIBUTE.size else (0, 0)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise MalformedError(f"conntrack: attribute at {offset} says {length} bytes, {end - offset} are there")
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return found


def _kind(message: Message) -> Kind:
    """New entries are told from changed ones by a flag alone."""
    if message.kind == IPCTNL_MSG_CT_DELETE:
        return "gone"
    return "new" if message.flags & NLM_F_CREATE else "changed"


def _tuple(found: Attributes, which: int, family: int) -> tuple[int, Endpoint, Endpoint]:
    """Protocol, source and destination of one direction."""
    if which not in found:
        raise MalformedError(f"conntrack: attribute {which} is missing")
    return _direction(bytes(found[which]), family)


@lru_cache(maxsize=TUPLES)
def _direction(nest: bytes, family: int) -> tuple[int, Endpoint, Endpoint]:
    """The same of the attribute's payload, which all messages about one entry repeat."""
    found = attributes(memoryview(nest))
    addresses, protocol = _nest(found, _ADDRESSES), _nest(found, _PROTOCOL)
    source, destination = _V4 if family == 4 else _V6
    return (
        _integer(protocol, _NUMBER, 1),
        Endpoint(_address(addresses, source, family), _optional(protocol, _SOURCE_PORT, 2)),
        Endpoint(_address(addresses, destination, family), _optional(protocol, _DESTINATION_PORT, 2)),
    )


def _address(found: Attributes, kind: int, family: int) -> str:
    payload = found.get(kind)
    if payload is None or len(payload) != (4 if family == 4 else 16):
        raise MalformedError(f"conntrack: no IPv{family} address where one should be")
    return socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, payload)


def _state(found: Attributes, protocol: int) -> str | None:
    """Name of the state; "none" for protocols without."""
    if protocol not in STATES:
        return "none"
    if _PROTOINFO not in found:
        return None
    info = attributes(found[_PROTOINFO])
    number = _optional(attributes(info[_INFO_OF[protocol]]), _STATE, 1) if _INFO_OF[protocol] in info else None
    return None if number is None else state_name(protocol, number)


def _counted(found: Attributes, what: int) -> int | None:
    """Packets or bytes of both directions; nobody counts beyond what a sample may hold."""
    values = [_optional(_nest(found, kind), what, 8) for kind in (_COUNTERS_ORIGINAL, _COUNTERS_REPLY) if kind in found]
    known = [value for value in values if value is not None]
    return min(sum(known), 2**63 - 1) if known else None


def _nest(found: Attributes, kind: int) -> Attributes:
    if kind not in found:
        raise MalformedError(f"conntrack: attribute {kind} is missing")
    return attributes(found[kind])


def _integer(found: Attributes, kind: int, size: int) -> int:
    value = _optional(found, kind, size)
    if value is None:
        raise MalformedError(f"conntrack: attribute {kind} is missing")
    return value


def _optional(found: Attributes, kind: int, size: int) -> int | None:
    """A number, which ctnetlink writes in network order, None if it is not there. Raises MalformedError."""
    payload = found.get(kind)
    if payload is None:
        return None
    if len(payload) != size:
        raise MalformedError(f"conntrack: attribute {kind} has {len(payload)} bytes and should have {size}")
    return int.from_bytes(payload, "big")
