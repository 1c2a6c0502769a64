"""Decodes answers to sock_diag requests into sockets (uapi linux/inet_diag.h, linux/unix_diag.h, linux/tcp.h)."""

from __future__ import annotations

import socket
import struct
from typing import Any, NamedTuple

import msgspec

from whodunnet.errors import MalformedError

STATES: tuple[str, ...] = (
    "none", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing", "syn-recv", "close",
)  # fmt: skip
"""By number (net/tcp_states.h). 12: a request socket. 13: bound and not connected (Linux 6.8; else such go unseen)."""

FIN_RECEIVED = frozenset({"close-wait", "last-ack", "closing"})
"""The peer has sent its FIN, which takes one sequence number and so shows as one unread byte until it is read."""

_NOT_SENDING = frozenset({"syn-sent", "syn-recv", "listen", "close"})  # the peer's window is unknown, not closed
_TIMER_PROBE = 4
_TIMER_TIME_WAIT = 3  # of minisockets only, in both of their states (inet_twsk_diag_fill)

MEMORY, INFO = 7, 2  # INET_DIAG_SKMEMINFO, INET_DIAG_INFO
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with header, type

_CGROUP = 21  # INET_DIAG_CGROUP_ID (Linux 5.9)
_UNIX_MEMORY = 5  # UNIX_DIAG_MEMINFO
_WANTED = frozenset({MEMORY, INFO, _CGROUP, _UNIX_MEMORY})

_INET = struct.Struct("=4B2H16s16sI2I5I")  # struct inet_diag_msg
_UNIX = struct.Struct("=4BI2I")  # struct unix_diag_msg
_SK_MEMINFO = struct.Struct(
    "=II8xiI"
)  # SK_MEMINFO_: RMEM_ALLOC, RCVBUF, -, -, FWD_ALLOC (may be negative), WMEM_QUEUED
_CGROUP_ID = struct.Struct("=Q")
_U32 = struct.Struct("=I")
_DROPS = 32  # of SK_MEMINFO_DROPS, Linux 4.7

# struct tcp_info to tcpi_notsent_bytes, which every kernel since 4.6 has: probes 3, snd_mss 16, unacked 24,
# last_data_sent 44, last_data_recv 52, last_ack_recv 56, bytes_acked 120, bytes_received 128, segs_out 136,
# notsent_bytes 144.
_TCP_INFO = struct.Struct("=3xB12xI4xI16xI4xII60xQQI4xI")
_SND_WND, _RCV_WND = 228, 232  # Linux 5.4, 6.2; no earlier tcp_info is padded far enough to be taken for them

_MAPPED = bytes(10) + b"\xff\xff"


class TcpInfo(msgspec.Struct, frozen=True, gc=False):
    """The members of struct tcp_info that the sockets sample needs; None where this kernel is too old.

    last_*_ms: milliseconds since then, in steps of one jiffy. unacked: segments on their way. snd_mss: bytes.
    bytes_acked: of what we sent, including SYN and FIN.
    bytes_received: in sequence, read or not, including the FIN. notsent_bytes: never sent so far.
    snd_wnd: the peer's window. rcv_wnd: the window last offered to the peer (bytes).
    """

    probes: int
    snd_mss: int
    unacked: int
    last_data_sent_ms: int
    last_data_recv_ms: int
    last_ack_recv_ms: int
    bytes_acked: int
    bytes_received: int
    segs_out: int
    notsent_bytes: int
    snd_wnd: int | None = None
    rcv_wnd: int | None = None


class SocketMemory(msgspec.Struct, frozen=True, gc=False):
    """INET_DIAG_SKMEMINFO, in bytes: r, rb, f and w of ss's skmem (net/core/sock.c: sk_get_meminfo); d in packets."""

    rmem_alloc: int = 0
    rcvbuf: int = 0
    fwd_alloc: int = 0
    wmem_queued: int = 0
    drops: int = 0

    @property
    def total_bytes(self) -> int:
        """What tcp_mem counts of it."""
        return self.rmem_alloc + self.fwd_alloc + self.wmem_queued


class InetSocket(msgspec.Struct, frozen=True, gc=False):
    """One TCP socket as struct inet_diag_msg tells it. `state` is one of STATES.

    family: 4 or 6, of the socket; an IPv6 socket that talks IPv4 has 6 and plain IPv4 addresses.
    timer: 0 none, 1 retransmit, 2 keep-alive, 4 zero-window probe. inode: 0 where no struct socket belongs to it.
    receive_queue, send_queue: bytes (ss Recv-Q, Send-Q); of a listener connections waiting and their limit.
    cookie: the kernel's name for this socket; before Linux 5.9 unique within the namespace only.
    memory: None marks a minisocket (time-wait, or a request that is not a full socket yet).
    """

    family: int
    state: str
    timer: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    cookie: int
    receive_queue: int
    send_queue: int
    uid: int
    inode: int
    memory: SocketMemory | None = None
    info: TcpInfo | None = None
    cgroup_id: int | None = None

    @property
    def unread_bytes(self) -> int:
        """Received and not read by the application, without the FIN; 0 for sockets that listen or are closed."""
        if self.state in ("listen", "close"):
            return 0
        return self.receive_queue - (self.state in FIN_RECEIVED and self.receive_queue > 0)

    @property
    def unsent_bytes(self) -> int:
        """Written and not acknowledged by the peer, including a SYN or FIN on its way; 0 as above.

        A closed socket has thrown its queue away, but its sequence numbers still differ.
        """
        return 0 if self.state in ("listen", "close") else self.send_queue

    @property
    def receive_window_full(self) -> bool:
        """Whether the peer may send nothing more: by the window offered, or on older kernels by the full buffer."""
        if self.info is not None and self.info.rcv_wnd is not None:
            return self.info.rcv_wnd == 0
        return self.memory is not None and self.memory.rmem_alloc >= self.memory.rcvbuf

    @property
    def send_window_closed(self) -> bool:
        """Whether the peer takes nothing more: its window is 0, or less than a segment with nothing on its way.

        Before Linux 5.4, which first tells the window, a zero-window probe has to say so.
        """
        info = self.info
        if info is None or self.state in _NOT_SENDING:
            return False
        stopped = info.unacked == 0 and info.notsent_bytes > 0
        if info.snd_wnd is not None:
            return info.snd_wnd == 0 or (stopped and info.snd_wnd < info.snd_mss)
        return stopped and (info.probes > 0 or self.timer == _TIMER_PROBE)


class PlainSocket(msgspec.Struct, frozen=True, gc=False):
    """One UDP (family 4 or 6) or unix socket (family 0); inode is 0 where no struct socket belongs to it.

    local, remote: address and port of a UDP socket; the remote port is 0 where it is not connected.
    """

    family: int
    inode: int
    memory: SocketMemory
    cgroup_id: int | None = None
    local: tuple[str, int] = ("", 0)
    remote: tuple[str, int] = ("", 0)


class SocketEnds(NamedTuple):
    """Both ends of a TCP socket, not decoded: its family, state and timer, its port, and a key for `ends_of`."""

    kind: tuple[int, int, int]
    local_port: int
    key: bytes

    @property
    def in_time_wait(self) -> bool:
        """Whether it is closed at both ends, or only a minisocket waits for the other end's last word."""
        return self.kind[2] == _TIMER_TIME_WAIT

    @property
    def state(self) -> str:
        """One of STATES."""
        return _state(self.kind[1])


def decode_tcp(message: bytes | memoryview) -> InetSocket:
    """The socket of one answer (after struct nlmsghdr) to a TCP request. Raises MalformedError."""
    header = _unpack(_INET, message, "struct inet_diag_msg")
    family, state, timer, _, local_port, remote_port, local, remote, _, low, high, *rest = header
    _, receive_queue, send_queue, uid, inode = rest
    attributes = _attributes(message, _INET.size)
    return InetSocket(
        family=_family(family),
        state=_state(state),
        timer=timer,
        local_address=_address(family, local),
        local_port=socket.ntohs(local_port),
        remote_address=_address(family, remote),
        remote_port=socket.ntohs(remote_port),
        cookie=low | high << 32,
        receive_queue=receive_queue,
        send_queue=send_queue,
        uid=uid,
        inode=inode,
        memory=_memory(attributes.get(MEMORY)),
        info=_info(attributes.get(INFO)),
        cgroup_id=_cgroup_id(attributes.get(_CGROUP)),
    )


def decode_ends(message: bytes | memoryview) -> SocketEnds:
    """Both ends as one answer (after struct nlmsghdr) to a TCP request has them. Raises MalformedError."""
    if len(message) < _INET.size:
        _unpack(_INET, message, "struct inet_diag_msg")
    kind = (message[0], message[1], message[2])
    # Port of the other end, own address, other address: what sockets that share a port range compete within.
    return SocketEnds(kind, message[4] << 8 | message[5], bytes(message[6:40]))


def ends_of(family: int, key: bytes) -> tuple[str, str, int]:
    """Own address, the other end's address and port. family: as in SocketEnds.kind. Raises MalformedError."""
    return _address(family, key[2:18]), _address(family, key[18:34]), int.from_bytes(key[:2], "big")


def decode_udp(message: bytes | memoryview) -> PlainSocket:
    """The socket of one answer (after struct nlmsghdr) to a UDP request. Raises MalformedError."""
    header = _unpack(_INET, message, "struct inet_diag_msg")
    attributes = _attributes(message, _INET.size)
    memory = _memory(attributes.get(MEMORY)) or SocketMemory()
    family, local_port, remote_port, local, remote = header[0], *header[4:8]
    return PlainSocket(
        family=_family(family),
        inode=header[-1],
        memory=memory,
        cgroup_id=_cgroup_id(attributes.get(_CGROUP)),
        local=(_address(family, local), socket.ntohs(local_port)),
        remote=(_address(family, remote), socket.ntohs(remote_port)),
    )


def decode_unix(message: bytes | memoryview) -> PlainSocket:
    """The socket of one answer (after struct nlmsghdr) to a unix_diag request. Raises MalformedError."""
    family, _, _, _, inode, _, _ = _unpack(_UNIX, message, "struct unix_diag_msg")
    if family != socket.AF_UNIX:
        raise MalformedError(f"sock_diag: address family {family} in answer to a unix request")
    attributes = _attributes(message, _UNIX.size)
    return PlainSocket(0, inode, _memory(attributes.get(_UNIX_MEMORY)) or SocketMemory())


def _unpack(layout: struct.Struct, data: bytes | memoryview, what: str) -> tuple[Any, ...]:
    if len(data) < layout.size:
        raise MalformedError(f"sock_diag: {what} of {len(data)} bytes, at least {layout.size} expected")
    return layout.unpack_from(data)


def _attributes(message: bytes | memoryview, offset: int) -> dict[int, bytes | memoryview]:
    """Attribute type -> payload of those we use; where a type comes twice the last one counts."""
    found: dict[int, bytes | memoryview] = {}
    end = len(message)
    while offset < end:
        if end - offset < ATTRIBUTE.size:
            raise MalformedError(f"sock_diag: {end - offset} bytes left at {offset}, too few for an attribute")
        length, kind = ATTRIBUTE.unpack_from(message, offset)
        if not ATTRIBUTE.size <= length <= end - offset:
            raise MalformedError(f"sock_diag: attribute {kind} says {length} bytes, {end - offset} are there")
        if kind in _WANTED:  # of about a dozen
            found[kind] = message[offset + ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return found


def _memory(payload: bytes | memoryview | None) -> SocketMemory | None:
    if payload is None:
        return None
    received, limit, forward, queued = _unpack(_SK_MEMINFO, payload, "INET_DIAG_SKMEMINFO")
    return SocketMemory(received, limit, forward, queued, _u32_if_there(payload, _DROPS) or 0)


def _info(payload: bytes | memoryview | None) -> TcpInfo | None:
    if payload is None:
        return None
    values = _unpack(_TCP_INFO, payload, "struct tcp_info")
    windows = (_u32_if_there(payload, offset) for offset in (_SND_WND, _RCV_WND))
    return TcpInfo(*(*values, *windows))


def _cgroup_id(payload: bytes | memoryview | None) -> int | None:
    return None if payload is None else _unpack(_CGROUP_ID, payload, "INET_DIAG_CGROUP_ID")[0]


def _u32_if_there(payload: bytes | memoryview, offset: int) -> int | None:
    if len(payload) < offset + _U32.size:
        return None
    value: int = _U32.unpack_from(payload, offset)[0]
    return value


def _family(number: int) -> int:
    if number not in (socket.AF_INET, socket.AF_INET6):
        raise MalformedError(f"sock_diag: address family {number} in answer to an inet request")
    return 4 if number == socket.AF_INET else 6


def _state(number: int) -> str:
    if not 0 < number < len(STATES):
        raise MalformedError(f"sock_diag: TCP state {number} does not exist")
    return STATES[number]


def _address(family: int, raw: bytes) -> str:
    """Text of a 16-byte address field; of an IPv4-mapped one the plain IPv4 address, so that both ends agree."""
    if family == socket.AF_INET6 and not raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET6, raw)
    return socket.inet_ntoa(raw[12:] if family == socket.AF_INET6 else raw[:4])
