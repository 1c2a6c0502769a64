"""How long one TCP connection has carried no data, asked of its socket alone (sock_diag(7), without a dump)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.sock_diag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket, TcpInfo, decode_tcp
from whodunnet.kernel.netlink.socket import MAX_ERRNO, NLM_F_REQUEST, NLMSG_ERROR, split
from whodunnet.model.sockets import Endpoint

ANSWER_BYTES = 8192
ANSWER_SECONDS = 1
"""The kernel answers inside the sending call."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=4BI")  # struct inet_diag_req_v2: family, protocol, extensions, pad, states
_ID = struct.Struct("=2s2s16s16sIII")  # struct inet_diag_sockid: ports, addresses, device, cookie
_INFO = 1 << 1  # 1 << (INET_DIAG_INFO - 1)
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = 0xFFFFFFFF
_FIN_CAME = frozenset({"close-wait", "last-ack", "closing", "fin-wait-2"})
_ERROR = struct.Struct("=i")
_ABSENT = (-errno.ENOENT, -errno.ESTALE)


def read_idle(local: Endpoint, remote: Endpoint) -> float | None:
    """Seconds that no data had gone either way when one end closed, of a connection in the calling thread's namespace.

    Of one that is not closed: until now. None if there is no such socket any more, or only what is left of it in
    time-wait. Raises UnreadableError, MalformedError.
    """
    found = _ask(local, remote)
    if found is None or found.info is None or not _is(found, local, remote):
        return None
    return _idle_ms(found.state, found.info) / 1000


def _idle_ms(state: str, info: TcpInfo) -> int:
    """A FIN is no data. It, or the acknowledgement of ours, came with an ACK: what passed since then is our delay."""
    silent = min(info.last_data_sent_ms, info.last_data_recv_ms)
    return max(0, silent - info.last_ack_recv_ms) if state in _FIN_CAME else silent


def request(local: Endpoint, remote: Endpoint) -> bytes:
    """The request for one connection, after struct nlmsghdr."""
    family = socket.AF_INET6 if ":" in (local.address or "") else socket.AF_INET
    ports = ((end.port or 0).to_bytes(2, "big") for end in (local, remote))
    addresses = (socket.inet_pton(family, end.address or "") for end in (local, remote))
    head = _REQUEST.pack(family, socket.IPPROTO_TCP, _INFO, 0, _ANY_STATE)
    return head + _ID.pack(*ports, *addresses, 0, _NO_COOKIE, _NO_COOKIE)


def decode_answer(datagram: memoryview) -> InetSocket | None:
    """The socket of an answer, None if the kernel has none. Raises UnreadableError, MalformedError."""
    for message in split(datagram):
        if message.kind == SOCK_DIAG_BY_FAMILY:
            return decode_tcp(message.body)
        if message.kind == NLMSG_ERROR:
            _raise_unless_absent(message.body)
    return None


def _ask(local: Endpoint, remote: Endpoint) -> InetSocket | None:
    body = request(local, remote)
    header = _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(ANSWER_SECONDS)
            netlink.sendto(header + body, (0, 0))
            return decode_answer(memoryview(netlink.recv(ANSWER_BYTES)))
    except OSError as error:
        raise UnreadableError(f"sock_diag: {error.strerror or error}") from error


def _is(found: InetSocket, local: Endpoint, remote: Endpoint) -> bool:
    """Whether it is that connection: where there is none, the kernel answers with the listener of that port."""
    ends = (found.local_address, found.local_port, found.remote_address, found.remote_port)
    return ends == (local.address, local.port, remote.address, remote.port)


def _raise_unless_absent(body: memoryview) -> None:
    if len(body) < _ERROR.size:
        raise MalformedError(f"sock_diag: error message of {len(body)} bytes")
    (result,) = _ERROR.unpack_from(body)
    if not -MAX_ERRNO <= result <= 0:
        raise MalformedError(f"sock_diag: {result} is no error number")
    if result not in _ABSENT:
        raise UnreadableError(f"sock_diag: {os.strerror(-result)}")
