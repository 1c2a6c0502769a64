"""Listens to what ctnetlink tells of entries that come, change and go (nfnetlink multicast; netlink(7)).

The kernel makes these messages only while somebody listens. It loses what finds no room in our buffer, and counts it;
it never waits for us, as we do not set NETLINK_BROADCAST_ERROR.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import NamedTuple, Self

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.conntrack import NETLINK_NETFILTER
from whodunnet.kernel.netlink.flow_messages import decode_event
from whodunnet.kernel.netlink.socket import split
from whodunnet.kernel.procfs.conntrack import parse_number
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots
from whodunnet.model.flow_event import FlowEvent

BUFFER_BYTES = 4 << 20
"""What the kernel may keep for us: some 6,500 messages, as it counts them."""
DATAGRAM_BYTES = 32 * 1024
BATCH = 512

_GROUPS = (1, 2, 3)  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_SO_MEMINFO, _MEMINFO = 55, struct.Struct("=9I")  # the last one is SK_MEMINFO_DROPS (Linux 4.12)
_KERNEL = 0  # port of the sender


class Setting(NamedTuple):
    """net.netfilter.nf_conntrack_events. value: 0 none, 1 of all entries, 2 of those made while somebody listens."""

    name: str
    value: int


class ConntrackEvents:
    """A subscription to the network namespace the calling thread is in; read it from any thread, one at a time.

    overruns: how often the kernel found our buffer full. malformed: messages that could not be decoded.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Raises UnreadableError: missing-capability without CAP_NET_ADMIN, unsupported without ctnetlink."""
        self.overruns = 0
        self.malformed = 0
        self._buffer = memoryview(bytearray(DATAGRAM_BYTES))
        flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | flags, NETLINK_NETFILTER)
        except OSError as error:
            raise _refused(error) from error
        try:
            self._subscribe(buffer_bytes)
        except OSError as error:
            self._socket.close()
            raise _refused(error) from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def lost(self) -> int | None:
        """Messages that the kernel had no room for, None where it does not tell."""
        try:
            values = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(values)[-1]) if len(values) == _MEMINFO.size else None

    def wait(self, seconds: float) -> bool:
        """Whether there is something to take, after at most so long."""
        return bool(self._poll.poll(max(0.0, seconds * 1000)))

    def take(self, limit: int = BATCH) -> list[FlowEvent]:
        """What has come, of at most `limit` datagrams, without waiting. Raises UnreadableError if the socket fails."""
        found: list[FlowEvent] = []
        for _ in range(limit):
            try:
                size, _, _, sender = self._socket.recvmsg_into([self._buffer])
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise UnreadableError(f"conntrack events: {os.strerror(error.errno or 0)}") from error
                self.overruns += 1
                continue
            if sender[0] == _KERNEL:
                found += self._decoded(self._buffer[:size])
        return found

    def _decoded(self, datagram: memoryview) -> list[FlowEvent]:
        found: list[FlowEvent] = []
        try:
            for message in split(datagram):
                event = decode_event(message)
                if event is not None:
                    found.append(event)
        except MalformedError:
            self.malformed += 1
        return found

    def _subscribe(self, buffer_bytes: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        except PermissionError:  # in a user namespace: as much as net.core.rmem_max lets us have
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        # First: a socket without a port of its own is taken for the sender, and left out (do_one_broadcast).
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)


def read_setting(roots: Roots) -> Setting:
    """Of the namespace that the calling thread is in. Raises UnreadableError, missing-file without event support."""
    path = roots.proc / "sys/net/netfilter/nf_conntrack_events"
    return Setting("net.netfilter.nf_conntrack_events", parse_number(read_bytes(path), str(path)))


def _refused(error: OSError) -> UnreadableError:
    text = f"conntrack events cannot be had: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return UnreadableError(f"{text} (needs CAP_NET_ADMIN)", "missing-capability", "CAP_NET_ADMIN")
    unsupported = error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)
    return UnreadableError(text, "unsupported" if unsupported else "unreadable")
