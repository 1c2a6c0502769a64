"""Tracked connections of one network namespace through NETLINK_NETFILTER (uapi linux/netfilter/nfnetlink_conntrack.h).

Needs CAP_NET_ADMIN. If nf_conntrack_netlink is a module, the kernel loads it on the first request, as it does for
conntrack(8).

Never selective: ctnetlink_dump_table (net/netfilter/nf_conntrack_netlink.c) walks the hash table of all namespaces with
softirqs off until a datagram is full, so that a filter makes it walk far; so does a table with few entries.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.netlink.socket import MAX_ERRNO, NetlinkSocket

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK
IPCTNL_MSG_CT_GET_STATS_CPU = 1 << 8 | 4
SLOW_SECONDS = 1e-3
SLOW_STAYS = 3
SLOW_SHARE = 0.25
"""A dump is given up when more stays in the kernel, and more than this share, took so long: softirqs had to wait.

Who asks has made sure of it beforehand, but there may be entries of namespaces that nobody can find in the way.
"""
RECEIVE_BYTES = (8192, 4096)
"""The kernel makes datagrams as large as our buffer, up to 32 KiB (netlink_recvmsg), each with softirqs off.

Measured on 6.18: a quarter of that costs an eighth more time in all, and less than half the longest stay. What has to
be begun again is read in the smallest that the kernel makes (NLMSG_GOODSIZE), as a slow machine needs it.
"""

_NFGENMSG = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")
_VALUE = struct.Struct(">I")
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK

# enum ctattr_stats_cpu, by the names that the columns of /proc/net/stat/nf_conntrack have.
_STATISTICS = {
    2: "found", 4: "invalid", 8: "insert", 9: "insert_failed", 10: "drop", 11: "early_drop", 12: "icmp_error",
    13: "search_restart", 14: "clashres", 15: "chainlength",
}  # fmt: skip


class FlowDump(NamedTuple):
    """One dump. table: what it had, in groups. overruns: how often it was begun again.

    longest_receive_seconds: CPU time of the longest single stay in the kernel.
    """

    table: FlowTable
    overruns: int
    seconds: float
    longest_receive_seconds: float


class ConntrackSocket(NetlinkSocket):
    """A socket for ctnetlink in the network namespace the calling thread is in.

    longest_cpu_seconds: CPU time of the longest stay in the kernel, for the request or an answer. Unlike the time that
    passed it leaves out when we were not running, which is no time with softirqs off.
    """

    def __init__(self, receive_bytes: int = RECEIVE_BYTES[0]) -> None:
        """Raises UnreadableError if the kernel gives no such socket."""
        super().__init__(NETLINK_NETFILTER)
        self.longest_cpu_seconds = 0.0
        self._stays = self._slow_stays = 0
        self._buffer = memoryview(bytearray(receive_bytes))

    @property
    def is_slow(self) -> bool:
        """Whether it keeps softirqs waiting."""
        return self._slow_stays > SLOW_STAYS and self._slow_stays > self._stays * SLOW_SHARE

    def flows(self, timeouts: Mapping[str, int]) -> FlowTable | None:
        """Every entry of every family, None if the kernel lost a part (ENOBUFS).

        timeouts: as Conntrack.timeouts. Raises UnreadableError, MalformedError.
        """
        table = FlowTable(timeouts, self._sequence + 1)
        try:
            self._request(IPCTNL_MSG_CT_GET, _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0))
            while not table.add_datagram(self._receive()):
                self._stop_if_slow()
        except UnreadableError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOBUFS:
                return None
            raise
        if table.error == errno.ENOBUFS:
            return None
        if table.error:
            raise refused(table.error)
        return table

    def _request(self, kind: int, body: bytes) -> None:
        begin = time.thread_time()
        super()._request(kind, body)  # fills the first datagram before it returns
        self._note_stay(time.thread_time() - begin)

    def _receive(self) -> memoryview:
        begin = time.thread_time()
        answer = super()._receive()
        self._note_stay(time.thread_time() - begin)
        return answer

    def _note_stay(self, seconds: float) -> None:
        self.longest_cpu_seconds = max(self.longest_cpu_seconds, seconds)
        self._stays += 1
        self._slow_stays += seconds > SLOW_SECONDS

    def _stop_if_slow(self) -> None:
        """Raises UnreadableError."""
        if self.is_slow:
            raise UnreadableError(
                f"the conntrack dump was given up: {self._slow_stays} of its first {self._stays} parts kept a CPU for "
                f"more than {SLOW_SECONDS * 1000:g} ms each"
            )


def dump_flows(timeouts: Mapping[str, int]) -> FlowDump:
    """Every entry of the namespace the calling thread is in; begun again once if a part was lost, or parts were slow.

    timeouts: as Conntrack.timeouts. Raises UnreadableError, missing-capability without CAP_NET_ADMIN.
    """
    begin, longest = time.perf_counter(), 0.0
    for attempt, receive_bytes in enumerate(RECEIVE_BYTES):
        table = None
        with ConntrackSocket(receive_bytes) as netlink:
            try:
                table = netlink.flows(timeouts)
            except UnreadableError:
                if not netlink.is_slow or receive_bytes == RECEIVE_BYTES[-1]:
                    raise
            longest = max(longest, netlink.longest_cpu_seconds)
        if table is not None:
            return FlowDump(table, attempt, time.perf_counter() - begin, longest)
    raise UnreadableError(f"the kernel lost a part of the conntrack dump {len(RECEIVE_BYTES)} times (ENOBUFS)")


def read_statistics() -> dict[str, int]:
    """Counters of the namespace the calling thread is in, summed over CPUs, for a kernel without them in procfs.

    Raises UnreadableError, MalformedError.
    """
    total: dict[str, int] = {}
    with ConntrackSocket() as netlink:
        for body in netlink.dump(IPCTNL_MSG_CT_GET_STATS_CPU, _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0)):
            for name, value in decode_statistics(body):
                total[name] = total.get(name, 0) + value
    return total


def decode_statistics(message: bytes | memoryview) -> Iterator[tuple[str, int]]:
    """Counters of one CPU, from an answer after struct nlmsghdr. Raises MalformedError."""
    offset, end = _NFGENMSG.size, len(message)
    while offset < end:
        length, kind = _ATTRIBUTE.unpack_from(message, offset) if end - offset >= _ATTRIBUTE.size else (0, 0)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise MalformedError(f"conntrack: attribute at {offset} says {length} bytes, {end - offset} are there")
        name = _STATISTICS.get(kind & _TYPE_MASK)
        if name is not None and length == _ATTRIBUTE.size + _VALUE.size:
            yield name, _VALUE.unpack_from(message, offset + _ATTRIBUTE.size)[0]
        offset += length + 3 & ~3


def refused(number: int) -> UnreadableError:
    """The error for an errno with which the kernel ends a dump."""
    if number > MAX_ERRNO:
        return MalformedError(f"conntrack: the dump ends with {-number}, which is no error number")
    text = f"the conntrack table cannot be dumped: {os.strerror(number)}"
    if number in (errno.EPERM, errno.EACCES):
        return UnreadableError(text, "missing-capability", "CAP_NET_ADMIN")
    if number in (errno.EINVAL, errno.EOPNOTSUPP):  # what nfnetlink says of a subsystem that it has not
        return UnreadableError("this kernel has no ctnetlink (nf_conntrack_netlink)", "unsupported")
    return UnreadableError(text)
