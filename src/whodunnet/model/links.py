"""The sample of the links collector: what every network device counts, and the queue before it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

import msgspec

from whodunnet.model.bounds import INT64_MAX, Count

QUEUE_WRAP: Final = 2**32
"""The kernel counts drops and packets of a queue in 32 bits."""


class LinkCounters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One device. Counters since it was made, or since its driver last reset them; 0 also where a driver counts none.

    number: its index, which no other device of its namespace gets. kind: as ip-link(8) names it, None for hardware.
    peer: number of the device it is a pair with (veth), or that it is on; in this namespace or in another one.
    rx_missed: received, and the device had no room (missed, fifo and over of ip -s -s link). rx_errors, tx_errors:
        damaged, too long and the like, without those. rx_dropped: given up after the device had them; also what no
        protocol wants. tx_dropped, tx_packets: of the device itself, behind the queue.
    carrier_downs: how often the carrier was lost; None before Linux 4.16. carrier_changes: both ways.
    speed_mbps, duplex: of hardware only, as it says.
    queue: kind of the root queue (pfifo_fast, tbf), with that of those below it where each is for one hardware queue
        ("mq fq_codel"); None where there is none ("noqueue") or it was not read.
    queue_drops, queue_packets: of all queues of the device; begin again at 0 at QUEUE_WRAP.
    rings: drops by receive queue in the driver's own names, of drivers that are known to count them in memory.
    """

    number: Count
    kind: str | None = None
    up: bool = True
    carrier: bool | None = None
    peer: Count | None = None
    rx_packets: Count = 0
    tx_packets: Count = 0
    rx_missed: Count = 0
    rx_errors: Count = 0
    rx_dropped: Count = 0
    rx_nohandler: Count = 0
    tx_errors: Count = 0
    tx_dropped: Count = 0
    carrier_changes: Count | None = None
    carrier_downs: Count | None = None
    speed_mbps: Count | None = None
    duplex: Literal["full", "half"] | None = None
    queue: str | None = None
    queue_drops: Count = 0
    queue_packets: Count = 0
    rings: dict[str, Count] = {}

    @property
    def lost(self) -> int:
        """All that it ever counted as lost, and how often its carrier was: any rise is worth a look."""
        counted = self.rx_missed + self.rx_errors + self.rx_dropped + self.tx_errors + self.tx_dropped
        return counted + self.queue_drops + (self.carrier_downs or 0) + sum(self.rings.values())


class NamespaceLinks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Devices of one network namespace by name, without loopback."""

    devices: dict[str, LinkCounters]


class Links(msgspec.Struct, frozen=True, tag="links", kw_only=True, omit_defaults=True, dict=True):
    """Devices by inode number of their network namespace.

    Devices that are down and have never passed a packet are left out. netns_unread: known namespaces whose devices
    could not be read. left_out: devices beyond the collector's bounds.
    """

    namespaces: dict[Count, NamespaceLinks] = {}
    netns_unread: Count = 0
    left_out: Count = 0

    @classmethod
    def of(cls, by_netns: Mapping[int, dict[str, LinkCounters]], *, netns_unread: int = 0, left_out: int = 0) -> Links:
        """From devices by namespace and name; a namespace without any is left out."""
        namespaces = {netns: NamespaceLinks(devices=devices) for netns, devices in by_netns.items() if devices}
        return cls(namespaces=namespaces, netns_unread=netns_unread, left_out=left_out)

    @cached_property
    def by_netns(self) -> dict[int, dict[str, LinkCounters]]:
        """Devices by namespace and name."""
        return {netns: here.devices for netns, here in self.namespaces.items()}

    def other_end(self, netns: int, name: str) -> tuple[int, str] | None:
        """Namespace and name of the other half of a veth pair; None where it is not seen, or not for certain.

        Each half knows the number of the other, which is one of its own namespace only: halves are joined if they name
        each other, and neither could be joined with a third.
        """
        mine = self.by_netns.get(netns, {}).get(name)
        if mine is None or self.netns_unread or self.left_out:
            return None
        there = self._halves(netns, mine)
        if len(there) != 1:
            return None
        (other,) = there
        back = self._halves(other[0], self.by_netns[other[0]][other[1]])
        return other if back == [(netns, name)] else None

    def _halves(self, netns: int, mine: LinkCounters) -> list[tuple[int, str]]:
        """Devices that may be the other half of this one."""
        if mine.kind != "veth" or mine.peer is None:
            return []
        found = self._by_pair.get((mine.peer, mine.number), [])
        return [one for one in found if one[0] != netns or self.by_netns[netns][one[1]] is not mine]

    @cached_property
    def _by_pair(self) -> dict[tuple[int, int], list[tuple[int, str]]]:
        """Halves by their own number and that of the other."""
        found: dict[tuple[int, int], list[tuple[int, str]]] = {}
        for netns, devices in self.by_netns.items():
            for name, device in devices.items():
                if device.kind == "veth" and device.peer is not None:
                    found.setdefault((device.number, device.peer), []).append((netns, name))
        return found


def cut(number: int) -> int:
    """Within the bounds of a Count."""
    return min(number, INT64_MAX)
