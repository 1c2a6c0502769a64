"""The table of flow groups in C memory (tools/conntrack_groups.h), its timeouts and what comes out of it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}

TCP_STATES = (
    "none", "syn-sent", "syn-recv", "established", "fin-wait", "close-wait", "last-ack", "time-wait", "close",
    "syn-sent2",
)  # fmt: skip
"""By number (uapi linux/netfilter/nf_conntrack_tcp.h)."""
SCTP_STATES = (
    "none", "closed", "cookie-wait", "cookie-echoed", "established", "shutdown-sent", "shutdown-recd",
    "shutdown-ack-sent", "heartbeat-sent", "heartbeat-acked",
)  # fmt: skip
DCCP_STATES = (
    "none", "request", "respond", "partopen", "open", "closereq", "closing", "timewait", "ignore", "invalid",
)  # fmt: skip
STATES: dict[int, tuple[str, ...]] = {6: TCP_STATES, 33: DCCP_STATES, 132: SCTP_STATES}

REPLIED, ASSURED, OFFLOADED, DNAT, SNAT = 1, 2, 4, 8, 16
_GO_ON, _DONE = 0, 1
_NEVER = -1
_GROUP = struct.Struct("=16s16s16s16s3H5B5x2Q12I")  # struct flow_group


class Entry(NamedTuple):
    """One entry, as found elsewhere than in a dump. Addresses are packed; flags: of the constants above.

    remaining_seconds: None where the kernel does not tell it.
    """

    source: bytes
    destination: bytes
    answered_by: bytes
    source_as: bytes
    destination_port: int
    answered_port: int
    protocol: int
    state: int
    flags: int
    zone: int
    remaining_seconds: int | None


class FlowTable:
    """Entries summed into groups, at most so many (tools/conntrack_groups.h); what has no room goes to coarser ones."""

    def __init__(self, timeouts: Mapping[str, int], sequence: int = 0, seed: int | None = None) -> None:
        """timeouts: as Conntrack.timeouts. sequence: of the request whose answers are taken. seed: None is random."""
        # 3 ms that a machine without entries need not spend.
        from whodunnet.kernel.netlink import _conntrack

        self._ffi, self._lib = _conntrack.ffi, _conntrack.lib
        if self._ffi.sizeof("struct flow_group") != _GROUP.size:
            raise MalformedError("conntrack: the extension has another layout of groups: rebuild the package")
        seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        table = self._lib.open_flows(seed)
        if table == self._ffi.NULL:
            raise MemoryError("no room for the groups of tracked connections")
        self._table = self._ffi.gc(table, self._lib.close_flows)
        self._table.sequence = sequence
        self._table.ages_below = AGE_BOUNDS_SECONDS
        self._table.tcp_short = tcp_short(timeouts)
        for protocol, by_state in enumerate(timeouts_of(number, timeouts) for number in range(256)):
            self._table.timeouts[protocol] = by_state

    def add_datagram(self, data: Any) -> bool:
        """Take every entry of a datagram; True if the dump ends with it, `error` then holds the kernel's answer.

        Raises MalformedError where its messages cannot be told apart; an entry that is malformed is only counted.
        """
        view = self._ffi.from_buffer(data)
        end = self._lib.add_datagram(self._table, view, len(view))
        if end not in (_GO_ON, _DONE):
            raise MalformedError(f"conntrack: a datagram of {len(view)} bytes has a message that does not fit in it")
        return bool(end == _DONE)

    def add(self, entry: Entry) -> None:
        """Take one entry."""
        flow = self._ffi.new("struct flow *")
        for name in ("source", "destination", "answered_by", "source_as"):
            self._ffi.memmove(getattr(flow, name), getattr(entry, name), len(getattr(entry, name)))
        flow.family = 4 if len(entry.source) == 4 else 6
        for name in ("destination_port", "answered_port", "protocol", "state", "flags", "zone"):
            setattr(flow, name, getattr(entry, name))
        remaining = _NEVER if entry.remaining_seconds is None else entry.remaining_seconds
        self._lib.add_flow(self._table, flow, remaining)

    @property
    def error(self) -> int:
        """errno with which the kernel ended the dump, 0 if all went well."""
        return -int(self._table.error)

    @property
    def records(self) -> int:
        """Entries taken, with those that went into no group."""
        return int(self._table.records)

    @property
    def malformed(self) -> int:
        return int(self._table.malformed)

    @property
    def interrupted(self) -> int:
        return int(self._table.interrupted)

    @property
    def other_entries(self) -> int:
        return int(self._table.other_entries)

    def groups(self) -> list[FlowGroup]:
        """The groups, in an order that stays from table to table (the hash table has none)."""
        records: list[bytes] = []
        for level in self._table.levels:
            data = self._ffi.buffer(level.groups, level.used * _GROUP.size)[:]
            records += (data[at : at + _GROUP.size] for at in range(0, len(data), _GROUP.size))
        address_text = lru_cache(maxsize=None)(_address_text)  # most addresses come many times
        return [_group(record, address_text) for record in sorted(records)]


def _group(record: bytes, address_text: Callable[[bytes, int], str]) -> FlowGroup:
    """One struct flow_group."""
    (
        source, destination, answered_by, source_as, port, answered_port, zone, family, protocol, state, flags, level,
        entries, idle_seconds, *ages,
    ) = _GROUP.unpack(record)  # fmt: skip
    merged = level > 0
    asked = Endpoint(address_text(destination, family), port or None)
    answers = Endpoint(None, None)
    if not merged:
        answers = Endpoint(address_text(answered_by, family), answered_port or None)
    return FlowGroup(
        family=family,
        protocol=PROTOCOLS.get(protocol) or str(protocol),
        source=address_text(source, family),
        destination=asked if level < 2 else None,
        answered_by=answers if flags & DNAT else None,
        source_as=address_text(source_as, family) if flags & SNAT else None,
        state=state_name(protocol, state),
        replied=bool(flags & REPLIED),
        assured=bool(flags & ASSURED),
        offloaded=bool(flags & OFFLOADED),
        zone=zone,
        merged=merged,
        entries=entries,
        idle_seconds=idle_seconds,
        ages=tuple(ages) if any(ages) else (),
    )


def _address_text(address: bytes, family: int) -> str:
    return socket.inet_ntop(socket.AF_INET, address[:4]) if family == 4 else socket.inet_ntop(socket.AF_INET6, address)


def state_name(protocol: int, number: int) -> str:
    """Name of a state; its number for one that this kernel has and we do not know."""
    names = STATES.get(protocol, ("none",))
    return names[number] if number < len(names) else str(number)


def tcp_short(timeouts: Mapping[str, int]) -> int:
    """Seconds that a TCP entry may get in place of its state's: many retransmits, closed window, unacknowledged data.

    net/netfilter/nf_conntrack_proto_tcp.c, nf_conntrack_tcp_packet; only if they are fewer than the state's.
    """
    return max(timeouts.get("tcp_timeout_max_retrans", 0), timeouts.get("tcp_timeout_unacknowledged", 0))


def timeouts_of(protocol: int, timeouts: Mapping[str, int]) -> tuple[int, ...]:
    """Seconds by number of the state, 0 where unknown; without states: not assured, assured."""
    name = PROTOCOLS.get(protocol)
    if protocol in STATES:
        names = (state.replace("-", "_") for state in STATES[protocol])
        found = [timeouts.get(f"{name}_timeout_{state}", 0) for state in names]
    elif protocol in (17, 136):  # UDP-Lite never had timeouts of its own in procfs
        found = [timeouts.get("udp_timeout", 0), timeouts.get("udp_timeout_stream", 0)]
    elif protocol == 47 and "gre_timeout" in timeouts:
        found = [timeouts["gre_timeout"], timeouts.get("gre_timeout_stream", 0)]
    else:
        known = f"{name}_timeout" if name in ("icmp", "icmpv6") else "generic_timeout"
        found = [timeouts.get(known, 0)] * 2
    return (*found, *[0] * (16 - len(found)))
