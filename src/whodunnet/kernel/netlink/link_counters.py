"""What network devices of one namespace count, and their queues (rtnl_link_stats64, gnet_stats; rtnetlink(7)).

Needs no right inside of the namespace.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.route import RTM_GETLINK, RouteSocket, name_of, picked
from whodunnet.model.bounds import INT64_MAX

RTM_GETQDISC = 38
STATISTICS = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
    "multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors",
    "rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors",
    "tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler",
)  # fmt: skip
"""struct rtnl_link_stats64 (uapi linux/if_link.h), in its order; it only grows at its end."""

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_TCMSG = struct.Struct("=BxHiIII")  # family, index, handle, parent, info
_U32 = struct.Struct("=I")
_QUEUE = struct.Struct("=IIIII")  # struct gnet_stats_queue: length, backlog, drops, requeues, overlimits
_BASIC = struct.Struct("=QI")  # struct gnet_stats_basic: bytes, packets
_ATTRIBUTE = struct.Struct("=HH")
_IFNAME, _LINK, _LINKINFO, _STATS64, _EXT_MASK, _CARRIER, _DOWN_COUNT, _INFO_KIND = 3, 5, 18, 23, 29, 33, 48, 1
_CARRIER_CHANGES = 35
_TCA_KIND, _TCA_STATS2, _STATS_BASIC, _STATS_QUEUE = 1, 7, 1, 3
_UP, _LOOPBACK = 0x1, 0x8
_ETHERNET = 1  # ARPHRD_ETHER
_ROOT, _MAJOR = 0xFFFFFFFF, 0xFFFF0000  # TC_H_ROOT, TC_H_MAJ_MASK
_OF_HARDWARE = frozenset({"mq", "mqprio"})

_LINKS = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _ATTRIBUTE.pack(8, _EXT_MASK) + _U32.pack(0)
_QDISCS = _TCMSG.pack(0, 0, 0, 0, 0, 0)
_WANTED = frozenset({_IFNAME, _LINK, _LINKINFO, _STATS64, _CARRIER, _CARRIER_CHANGES, _DOWN_COUNT})
_KIND_ONLY, _QUEUE_WANTED = frozenset({_INFO_KIND}), frozenset({_TCA_KIND, _TCA_STATS2})
_COUNTED = frozenset({_STATS_BASIC, _STATS_QUEUE})
_NOTHING = memoryview(b"")


class CountedLink(NamedTuple):
    """A device. name, kind: cleaned; kind as ip-link(8) names it, None for hardware and for lo.

    peer: number of the device that it is a pair with, or that it is on; perhaps of another namespace.
    carrier_changes, carrier_downs: how often it changed or was lost, None before Linux 3.15 and 4.16.
    statistics: by name, see STATISTICS; those at 0 are left out.
    """

    number: int
    name: str
    kind: str | None
    up: bool
    loopback: bool
    ethernet: bool
    peer: int | None
    carrier: bool | None
    carrier_changes: int | None
    carrier_downs: int | None
    statistics: dict[str, int]


class CountedQueue(NamedTuple):
    """The root queue of a device: what it dropped, all queues below it together, and how many packets passed.

    kind: of one queue for each hardware queue, which alone drop, as "mq fq_codel", if they are of one kind.
    """

    device: int
    kind: str
    drops: int
    packets: int


class Queue(NamedTuple):
    """Any queue. handle: its own number; parent: that of the one above with its place there, _ROOT of the first one."""

    counted: CountedQueue
    handle: int
    parent: int


class CounterSocket(RouteSocket):
    """A socket for rtnetlink in the network namespace the calling thread is in."""

    def counted_links(self, at_most: int) -> Iterator[CountedLink]:
        """Devices, read no further than so many. Raises UnreadableError, MalformedError."""
        for position, body in enumerate(self.dump(RTM_GETLINK, _LINKS)):
            if position >= at_most:
                return
            yield decode_counted_link(body)

    def root_queues(self, at_most: int) -> Iterator[CountedQueue]:
        """Root queues of devices, of at most so many queues. Raises UnreadableError, MalformedError."""
        roots: dict[int, Queue] = {}
        below: dict[int, set[str]] = {}
        for body in islice(self.dump(RTM_GETQDISC, _QDISCS), at_most):
            queue = decode_queue(body)
            device, root = queue.counted.device, roots.get(queue.counted.device)
            if queue.parent == _ROOT:
                roots[device] = queue
            elif root is not None and root.counted.kind in _OF_HARDWARE and queue.parent & _MAJOR == root.handle:
                below.setdefault(device, set()).add(queue.counted.kind)
        for device, root in roots.items():
            kinds = below.get(device, set())
            kind = f"{root.counted.kind} {kinds.copy().pop()}" if len(kinds) == 1 else root.counted.kind
            yield root.counted._replace(kind=kind)


def decode_counted_link(message: bytes | memoryview) -> CountedLink:
    """One answer to RTM_GETLINK, after struct nlmsghdr; of loopback only what it is. Raises MalformedError."""
    if len(message) < _IFINFOMSG.size:
        raise MalformedError(f"rtnetlink: a link message has {len(message)} bytes")
    _, kind_of_hardware, index, flags, _ = _IFINFOMSG.unpack_from(message)
    loopback = bool(flags & _LOOPBACK)
    values = {} if loopback else picked(message, _IFINFOMSG.size, _WANTED)
    info, carrier = values.get(_LINKINFO), values.get(_CARRIER)
    kind = picked(info, 0, _KIND_ONLY).get(_INFO_KIND) if info is not None else None
    return CountedLink(
        number=index, name=name_of(values.get(_IFNAME, _NOTHING)), kind=name_of(kind) if kind is not None else None,
        up=bool(flags & _UP), loopback=loopback, ethernet=kind_of_hardware == _ETHERNET, peer=_u32(values.get(_LINK)),
        carrier=carrier[0] != 0 if carrier else None, carrier_changes=_u32(values.get(_CARRIER_CHANGES)),
        carrier_downs=_u32(values.get(_DOWN_COUNT)), statistics=_statistics(values.get(_STATS64, _NOTHING)),
    )  # fmt: skip


def decode_queue(message: bytes | memoryview) -> Queue:
    """One answer to RTM_GETQDISC, after struct nlmsghdr. Raises MalformedError.

    What a queue below drops its parents count too (qdisc_tree_reduce_backlog, mq_dump).
    """
    if len(message) < _TCMSG.size:
        raise MalformedError(f"rtnetlink: a queue message has {len(message)} bytes")
    _, _, index, handle, parent, _ = _TCMSG.unpack_from(message)
    values = picked(message, _TCMSG.size, _QUEUE_WANTED)
    counted = picked(values.get(_TCA_STATS2, _NOTHING), 0, _COUNTED)
    queue, basic = counted.get(_STATS_QUEUE, _NOTHING), counted.get(_STATS_BASIC, _NOTHING)
    read = CountedQueue(
        device=index,
        kind=name_of(values.get(_TCA_KIND, _NOTHING)),
        drops=_QUEUE.unpack_from(queue)[2] if len(queue) >= _QUEUE.size else 0,
        packets=_BASIC.unpack_from(basic)[1] if len(basic) >= _BASIC.size else 0,
    )
    return Queue(read, handle, parent)


def _statistics(value: memoryview) -> dict[str, int]:
    numbers = struct.unpack_from(f"={min(len(value) // 8, len(STATISTICS))}Q", value)
    return {name: min(n, INT64_MAX) for name, n in zip(STATISTICS, numbers, strict=False) if n}


def _u32(value: memoryview | None) -> int | None:
    if value is None:
        return None
    if len(value) < _U32.size:
        raise MalformedError(f"rtnetlink: a number of a link has {len(value)} bytes")
    return int(_U32.unpack_from(value)[0])
