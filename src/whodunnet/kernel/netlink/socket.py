"""One netlink socket: send a dump request, read its answers (netlink(7), uapi linux/netlink.h)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple, Self

from whodunnet.errors import MalformedError, UnreadableError

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300

MAX_ERRNO = 4095  # linux/err.h

RECEIVE_BYTES = 256 * 1024
RECEIVE_SECONDS = 5
"""The kernel answers a dump inside the receiving call; one that waits this long will not come."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ERROR = struct.Struct("=i")  # first member of struct nlmsgerr, and the whole payload of NLMSG_DONE
_TIMEVAL = struct.Struct("@ll")


class Message(NamedTuple):
    """One netlink message. body: what follows struct nlmsghdr; a view into the buffer it was split from."""

    kind: int
    flags: int
    sequence: int
    body: memoryview


class NetlinkSocket:
    """A socket in the network namespace the calling thread was in when it was made; not to be shared by threads.

    interrupted: dumps that the kernel marked as inconsistent (NLM_F_DUMP_INTR).
    longest_receive_seconds: the longest single stay in the kernel for one datagram of answers.
    """

    def __init__(self, protocol: int) -> None:
        """protocol: NETLINK_SOCK_DIAG, ... Raises UnreadableError if the kernel refuses the socket."""
        self.interrupted = 0
        self.longest_receive_seconds = 0.0
        self._sequence = 0
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise _refused(error.errno or 0, f"netlink protocol {protocol}") from error
        # Not settimeout(): it would add a poll() before every single receive.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(RECEIVE_SECONDS, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back; closing twice is allowed."""
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> Iterator[memoryview]:
        """The body of every answer to one dump request. Read it to its end: a socket carries one dump at a time.

        kind: message type. body: the request after struct nlmsghdr.
        Each view is valid only until the next one is taken, because the buffer is used again.
        Raises UnreadableError if the kernel refuses or stays silent, MalformedError if an answer makes no sense.
        """
        self._request(kind, body)
        interrupted = False
        for message in self._answers():
            interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
            if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                self.interrupted += interrupted
                _raise_if_refused(message, kind)
                return
            yield message.body

    def _request(self, kind: int, body: bytes) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        try:
            self._socket.sendto(header + body, (0, 0))
        except OSError as error:
            raise _refused(error.errno or 0, f"netlink request {kind}") from error

    def _answers(self) -> Iterator[Message]:
        while True:
            for message in split(self._receive()):
                if message.sequence == self._sequence:
                    yield message

    def _receive(self) -> memoryview:
        started = time.perf_counter()
        try:
            size = self._socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        except OSError as error:
            raise UnreadableError(f"netlink: no answer to a dump: {os.strerror(error.errno or 0)}") from error
        self.longest_receive_seconds = max(self.longest_receive_seconds, time.perf_counter() - started)
        if size > len(self._buffer):
            raise MalformedError(f"netlink: a datagram of {size} bytes does not fit in {len(self._buffer)}")
        return self._buffer[:size]


def split(datagram: memoryview) -> Iterator[Message]:
    """The messages of one datagram. Raises MalformedError where a length points outside of it."""
    offset, end = 0, len(datagram)
    while offset < end:
        if end - offset < _HEADER.size:
            raise MalformedError(f"netlink: {end - offset} bytes left at {offset}, too few for a message header")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= end - offset:
            raise MalformedError(f"netlink: message at {offset} says {length} bytes, {end - offset} are there")
        yield Message(kind, flags, sequence, datagram[offset + _HEADER.size : offset + length])
        offset += length + 3 & ~3


def _raise_if_refused(message: Message, request: int) -> None:
    """Raise what an NLMSG_ERROR or NLMSG_DONE says; NLMSG_DONE carries the dump's return value since Linux 2.6."""
    if len(message.body) < _ERROR.size:
        if message.kind == NLMSG_ERROR:
            raise MalformedError(f"netlink: error message of {len(message.body)} bytes")
        return
    (result,) = _ERROR.unpack_from(message.body)
    if result < -MAX_ERRNO:
        raise MalformedError(f"netlink: {result} is no error number")
    if result < 0:
        raise _refused(-result, f"netlink request {request}")


def _refused(number: int, what: str) -> UnreadableError:
    """The error for an errno: ENOENT means that no such handler is built in or could be loaded."""
    text = f"{what}: {os.strerror(number)}"
    if number in (errno.EPERM, errno.EACCES):
        return UnreadableError(text, "missing-capability", "CAP_NET_ADMIN")
    unsupported = number in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
    return UnreadableError(text, "unsupported" if unsupported else "unreadable")
