"""Messages of netlink, after struct nlmsghdr or whole datagrams (whodunnet.kernel.netlink), the C decoder's too."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from fuzz.sockets import Given
from fuzz.target import Target
from whodunnet.errors import UnreadableError
from whodunnet.kernel.netlink import (
    conntrack,
    conntrack_groups,
    flow_messages,
    link_counters,
    neighbours,
    route,
    sock_diag_messages,
    socket_idle,
)
from whodunnet.kernel.netlink.conntrack_events import DATAGRAM_BYTES, ConntrackEvents
from whodunnet.kernel.netlink.socket import NLMSG_DONE, NLMSG_ERROR, NetlinkSocket, split

_TIMEOUTS: Final = {"tcp_timeout_established": 432_000, "udp_timeout": 30, "udp_timeout_stream": 120}
_HEADER: Final = struct.Struct("=IHHII")
_SEQUENCE: Final = 7


def _without_header(decode: Callable[[memoryview], object]) -> Callable[[bytes], object]:
    """The decoder of one body gets every body of a datagram, as it does in the field."""
    return lambda data: [
        decode(message.body) for message in split(memoryview(data)) if message.kind not in (NLMSG_DONE, NLMSG_ERROR)
    ]


class _Answered(NetlinkSocket):
    """A socket whose kernel answers with given bytes, and then ends the dump."""

    def __init__(self, data: bytes) -> None:
        self.interrupted = 0
        self.longest_receive_seconds = 0.0
        self._sequence = 1
        self._given = [memoryview(_HEADER.pack(20, NLMSG_DONE, 0, 1, 0) + bytes(4)), memoryview(data)]

    def _request(self, kind: int, body: bytes) -> None:
        """Nobody is asked."""

    def _receive(self) -> memoryview:
        return self._given.pop() if len(self._given) > 1 else self._given[0]


def _dump(data: bytes) -> object:
    return [bytes(body) for body in _Answered(data).dump(20, b"")]


def _take_flows(data: bytes) -> object:
    """The sequence number is that of the first message, as if we had asked for it."""
    sequence = _HEADER.unpack_from(data)[3] if len(data) >= _HEADER.size else _SEQUENCE
    table = conntrack_groups.FlowTable(_TIMEOUTS, sequence, seed=1)
    table.add_datagram(data)
    if table.error:
        raise conntrack.refused(table.error)
    return table.groups(), table.records, table.malformed, table.interrupted, table.other_entries


def _take_events(data: bytes) -> None:
    events = ConntrackEvents.__new__(ConntrackEvents)
    events.malformed = 0
    events._buffer = memoryview(bytearray(DATAGRAM_BYTES))
    events._socket = cast("socket.socket", Given(data))
    events.take()
    if events.lost is not None and events.lost < 0:
        raise AssertionError(events.lost)
    for message in split(memoryview(data)):
        flow_messages.decode_event(message)


def _decode_ends(body: memoryview) -> object:
    ends = sock_diag_messages.decode_ends(body)
    return ends.state, ends.in_time_wait, sock_diag_messages.ends_of(ends.kind[0], ends.key)


def _decode_tcp(body: memoryview) -> object:
    found = sock_diag_messages.decode_tcp(body)
    total = found.memory.total_bytes if found.memory is not None else 0
    return found.unread_bytes, found.unsent_bytes, found.receive_window_full, found.send_window_closed, total


def _decode_neighbour(data: bytes) -> None:
    neighbours.decode_neighbour(data)
    neighbours.decode_address(data)


def _refusal(number: int) -> bytes:
    return _HEADER.pack(20, NLMSG_ERROR, 0, 1, 0) + struct.pack("=i", number)


TARGETS: Final = (
    Target(name="netlink-datagram", run=_dump, raises=(UnreadableError,), recorded=("datagrams",),
           seeds=(_refusal(-1), _refusal(0), _refusal(-2**31))),
    Target(name="netlink-conntrack-dump", run=_take_flows, raises=(UnreadableError,),
           files=("netlink/conntrack/*.bin",), seeds=(_refusal(-2**31),), max_bytes=8192),
    Target(name="netlink-conntrack-events", run=_take_events, files=("netlink/conntrack_events/*.bin",)),
    Target(name="netlink-conntrack-statistics", run=lambda data: list(conntrack.decode_statistics(data)),
           max_bytes=512,
           seeds=(bytes(4) + struct.pack("=HH4s", 8, 2, b"found"[:4]) + struct.pack("=HH4s", 8, 0x8004, bytes(4)),)),
    Target(name="netlink-counted-link", run=link_counters.decode_counted_link, recorded=("links",)),
    Target(name="netlink-queue", run=link_counters.decode_queue, recorded=("queues",)),
    Target(name="netlink-link", run=route.decode_link, recorded=("links",)),
    Target(name="netlink-address", run=route.decode_address, recorded=("addresses",)),
    Target(name="netlink-neighbour", run=_decode_neighbour, recorded=("neighbours",), max_bytes=512),
    Target(name="netlink-tcp", run=_without_header(_decode_tcp), files=("netlink/sock_diag/tcp*.bin",)),
    Target(name="netlink-tcp-ends", run=_without_header(_decode_ends), files=("netlink/sock_diag/tcp.bin",)),
    Target(name="netlink-udp", run=_without_header(sock_diag_messages.decode_udp),
           files=("netlink/sock_diag/udp.bin",)),
    Target(name="netlink-unix", run=_without_header(sock_diag_messages.decode_unix),
           files=("netlink/sock_diag/unix.bin",)),
    Target(name="netlink-one-socket", run=lambda data: socket_idle.decode_answer(memoryview(data)),
           raises=(UnreadableError,), files=("netlink/sock_diag/tcp.bin",), seeds=(_refusal(-2), _refusal(-2**31))),
)  # fmt: skip
