"""One question to a name server, over UDP: for the servers of the root, which every one that is of use can answer."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Final

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import unreadable

PORT: Final = 53
_HEADER: Final = struct.Struct(">6H")  # RFC 1035 4.1.1: id, flags, and four counts
_RECURSE, _IS_ANSWER, _RCODE = 0x0100, 0x8000, 0x000F
_ROOT_NS: Final = b"\0" + struct.pack(">HH", 2, 1)  # the empty name, type NS, class IN
_ANSWER_BYTES: Final = 512
_REFUSED: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM})


class NameQuery:
    """A socket in the network namespace the calling thread is in when this is made, connected to a name server.

    refused: a message came back instead of an answer. rcode: of the answer, once there is one. sent: how often.
    """

    def __init__(self, address: str) -> None:
        """Raises UnreadableError if there is no way to that server from here."""
        self.rcode: int | None = None
        self.refused = False
        self.sent = 0
        self._number = int.from_bytes(os.urandom(2), "big")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        made = None
        try:
            made = socket.socket(family, kind)
            made.connect((address, PORT))
        except OSError as error:
            if made is not None:
                made.close()
            raise unreadable(f"name server {address}", error) from error
        self._socket = made

    @property
    def inode(self) -> int:
        """Of the socket's file."""
        return os.fstat(self._socket.fileno()).st_ino

    def ask(self) -> None:
        """Send the question, again if it was sent before."""
        self.sent += 1
        message = _HEADER.pack(self._number, _RECURSE, 1, 0, 0, 0) + _ROOT_NS
        try:
            self._socket.send(message)
        except OSError as error:
            self.refused = self.refused or error.errno in _REFUSED

    def look(self) -> None:
        """Take what has come, without waiting."""
        while self.rcode is None:
            try:
                self.rcode = rcode_of(self._socket.recv(_ANSWER_BYTES), self._number)
            except BlockingIOError:
                return
            except OSError as error:
                self.refused = self.refused or error.errno in _REFUSED
                return

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def rcode_of(message: bytes, number: int) -> int | None:
    """The code of an answer to the question of this number; None for anything else."""
    if len(message) < _HEADER.size:
        return None
    its, flags, *_ = _HEADER.unpack_from(message)
    return flags & _RCODE if its == number and flags & _IS_ANSWER else None


def make_query(address: str) -> NameQuery:
    """A question that was sent. Raises UnreadableError."""
    query = NameQuery(address)
    query.ask()
    if query.refused:
        query.close()
        raise UnreadableError(f"nothing can be sent to name server {address}")
    return query
