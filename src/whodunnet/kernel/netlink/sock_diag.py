"""Sockets of one network namespace through NETLINK_SOCK_DIAG (sock_diag(7), uapi linux/inet_diag.h, linux/unix_diag.h).

If inet_diag, tcp_diag, udp_diag or unix_diag is a module, the kernel loads it on the first request, as it does for ss.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Self

from whodunnet.kernel.netlink.sock_diag_messages import (
    ATTRIBUTE,
    INFO,
    MEMORY,
    STATES,
    InetSocket,
    PlainSocket,
    SocketEnds,
    decode_ends,
    decode_tcp,
    decode_udp,
    decode_unix,
)
from whodunnet.kernel.netlink.socket import NetlinkSocket

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20

_ANY = (1 << len(STATES)) - 1
_TIME_WAIT, _SYN_RECV, _LISTEN = 6, 3, 10
_UNIX_SHOW_MEMORY = 0x20  # UDIAG_SHOW_MEMINFO
_REQUEST_BYTECODE = 1  # INET_DIAG_REQ_BYTECODE
_PORT_AT_LEAST, _PORT_AT_MOST = 2, 3  # INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE

_INET_REQUEST = struct.Struct("=4BI48x")  # struct inet_diag_req_v2: family, protocol, extensions, pad, states, id
_UNIX_REQUEST = struct.Struct("=4B4I4x")  # struct unix_diag_req: family, protocol, pad, states, inode, show, cookie
_OPERATION = struct.Struct("=BBH")  # struct inet_diag_bc_op: code, where to go on if so, and if not


class SockDiag:
    """The sockets of the network namespace the calling thread was in when this was made.

    time_wait, request_sockets: minisockets met while `connections` was read.
    """

    def __init__(self) -> None:
        """Raises UnreadableError if the kernel gives no such socket."""
        self.netlink = NetlinkSocket(NETLINK_SOCK_DIAG)
        self.time_wait = 0
        self.request_sockets = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.netlink.close()

    def listeners(self) -> Iterator[InetSocket]:
        """TCP sockets that listen. As the three below: raises UnreadableError, MalformedError while it is read."""
        for message in self._inet(socket.IPPROTO_TCP, 1 << _LISTEN):
            yield decode_tcp(message)

    def connections(self) -> Iterator[InetSocket]:
        """Every other full TCP socket that is hashed; minisockets are only counted.

        Sockets that move within the kernel's table while it is read may come twice or not at all.
        """
        for message in self._inet(socket.IPPROTO_TCP, _ANY & ~(1 << _LISTEN)):
            # Minisockets can outnumber the rest by far, and their state byte is all that is wanted of them.
            if len(message) > 1 and message[1] == _TIME_WAIT:
                self.time_wait += 1
                continue
            found = decode_tcp(message)
            if found.memory is not None:
                yield found
            elif found.state == STATES[_SYN_RECV]:
                self.request_sockets += 1
            else:
                self.time_wait += 1  # in substate fin-wait-2

    def ends(self, first: int, last: int) -> Iterator[SocketEnds]:
        """TCP sockets whose own port is one of these, minisockets too. The kernel picks them, and tells no more."""
        operations = (
            _OPERATION.pack(_PORT_AT_LEAST, 8, 20), _OPERATION.pack(0, 0, first),
            _OPERATION.pack(_PORT_AT_MOST, 8, 12), _OPERATION.pack(0, 0, last),
        )  # fmt: skip
        code = b"".join(operations)
        attribute = ATTRIBUTE.pack(ATTRIBUTE.size + len(code), _REQUEST_BYTECODE) + code
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY) + attribute
            for message in self.netlink.dump(SOCK_DIAG_BY_FAMILY, request):
                yield decode_ends(message)

    def udp(self) -> Iterator[PlainSocket]:
        """UDP sockets that are bound."""
        for message in self._inet(socket.IPPROTO_UDP, _ANY):
            yield decode_udp(message)

    def unix(self) -> Iterator[PlainSocket]:
        """Unix sockets of all types."""
        request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0, 0xFFFFFFFF, 0, _UNIX_SHOW_MEMORY, 0)
        for message in self.netlink.dump(SOCK_DIAG_BY_FAMILY, request):
            yield decode_unix(message)

    def _inet(self, protocol: int, states: int) -> Iterator[memoryview]:
        extensions = 1 << MEMORY - 1 | (1 << INFO - 1 if protocol == socket.IPPROTO_TCP else 0)
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _INET_REQUEST.pack(family, protocol, extensions, 0, states)
            yield from self.netlink.dump(SOCK_DIAG_BY_FAMILY, request)
