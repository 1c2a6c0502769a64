"""The links collector: what every network device of every reachable namespace counts."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from time import monotonic
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.collectors.visits import visit_all
from whodunnet.kernel import namespaces
from whodunnet.kernel.ethtool import Ethtool
from whodunnet.kernel.namespaces import Way
from whodunnet.kernel.netlink.link_counters import CountedLink, CountedQueue, CounterSocket
from whodunnet.kernel.roots import Roots
from whodunnet.model.links import LinkCounters, Links, cut

DEVICES_PER_NETNS = 4096
DEVICES_LIMIT = 16_384
QUEUES_PER_NETNS = 16_384
AGAIN_SECONDS: Final = 10.0
"""How long the devices of a namespace are taken as read, if each has another half in sight and no queue."""
DRIVERS: Final = frozenset({"virtio_net", "igb", "igc", "ixgbe", "bnxt_en"})
"""Only these are asked for drops by queue: theirs are in memory or registers. Others ask firmware, which may take its
time, with the lock of all devices held."""
RING_DROPS: Final = re.compile(
    r"rx(?P<virtio>\d+)_drops|rx_queue_(?P<queue>\d+)_drops|\[(?P<bnxt>\d+)\]: rx_discards|rx_no_dma_resources"
)
"""Names of those counters: virtnet_get_strings, igb_get_strings, bnxt_ring_rx_stats_str, ixgbe_gstrings_stats."""


class Said(NamedTuple):
    """What hardware said of its line, and how often it had changed by then."""

    changes: int | None
    driver: str | None
    speed_mbps: int | None
    duplex: Literal["full", "half"] | None


class Visit(NamedTuple):
    """A namespace as it was read. left_out: devices for which there was no room."""

    devices: dict[str, LinkCounters]
    left_out: int
    when: float


class LinksCollector:
    """Asks every reachable network namespace for its devices and queues, and hardware for its speed if it changed."""

    name: ClassVar[str] = "links"

    def __init__(self, roots: Roots, drivers: Collection[str] = DRIVERS) -> None:
        """drivers: whose statistics are read; other than DRIVERS in tests only."""
        self._roots = roots
        self._wanted = drivers
        self._said: dict[tuple[int, str], Said] = {}
        self._newest = Links()
        self._visits: dict[int, Visit] = {}
        self._ways: dict[int, Way] = {}
        self.troubled: frozenset[int] = frozenset()
        """Namespaces at an end of a device whose losses have risen since the first reading."""
        self._room = DEVICES_LIMIT

    def collect(self) -> Links:
        """One reading. Raises UnreadableError if the list of processes cannot be read."""
        self._room = DEVICES_LIMIT
        before, self._said = self._said, {}
        found, unread = visit_all(self._roots, partial(self._read, before), remembered=self._remembered)
        newest = Links.of(
            {netns: visit.devices for netns, visit in found.items()},
            netns_unread=unread,
            left_out=sum(visit.left_out for visit in found.values()),
        )
        self._visits = found
        self._ways = {netns: way for netns, way in self._ways.items() if netns in found}
        self.troubled = (self.troubled | troubled(self._newest, newest)) & newest.by_netns.keys()
        self._newest = newest
        return newest

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _remembered(self, netns: int, way: Way) -> Visit | None:
        """What a pod's end of a pair counts, the other end does too, but for what it drops itself."""
        visit, same = self._visits.get(netns), self._ways.get(netns) == way
        self._ways[netns] = way
        if visit is None or not same or monotonic() - visit.when > AGAIN_SECONDS or netns in self.troubled:
            return None
        return visit if visit.devices and all(map(partial(self._is_seen_elsewhere, netns), visit.devices)) else None

    def _is_seen_elsewhere(self, netns: int, name: str) -> bool:
        device = self._newest.by_netns.get(netns, {}).get(name)
        if device is None or device.queue is not None:
            return False
        other = self._newest.other_end(netns, name)
        return other is not None and len(self._newest.by_netns[other[0]]) > len(self._newest.by_netns[netns])

    def _read(self, before: dict[tuple[int, str], Said]) -> Visit:
        """Of the namespace that the calling thread is in. Raises UnreadableError."""
        with CounterSocket() as netlink:
            links = list(netlink.counted_links(DEVICES_PER_NETNS + 1))
            wanted = [link for link in links[:DEVICES_PER_NETNS] if _is_of_interest(link)]
            kept = wanted[: max(self._room, 0)]
            self._room -= len(kept)
            # A socket whose dump was not read to its end takes no other request.
            queues = _queues(netlink) if kept and len(links) <= DEVICES_PER_NETNS else {}
        devices = {link.name: _counters(link, queues.get(link.number)) for link in kept}
        hardware = [link for link in kept if link.kind is None and link.ethernet]
        if hardware:
            devices |= self._asked(hardware, devices, before)
        left_out = len(wanted) - len(kept) + max(len(links) - DEVICES_PER_NETNS, 0)
        return Visit(devices, left_out, monotonic())

    def _asked(
        self, hardware: list[CountedLink], devices: dict[str, LinkCounters], before: dict[tuple[int, str], Said]
    ) -> dict[str, LinkCounters]:
        """The same with what their drivers say."""
        netns = namespaces.own(self._roots)
        found = {}
        with Ethtool() as ethtool:
            for link in hardware:
                said = before.get((netns, link.name))
                if said is None or said.changes is None or said.changes != link.carrier_changes:
                    said = _say(ethtool, link, said)
                self._said[netns, link.name] = said
                rings: dict[str, int] | None = None
                if said.driver in self._wanted:
                    rings = unless_unreadable(partial(ethtool.statistics, link.name))
                found[link.name] = _with_hardware(devices[link.name], said, ring_drops(rings or {}))
        return found


def troubled(before: Links, then: Links) -> frozenset[int]:
    """Namespaces at both ends of devices whose losses rose between two readings."""
    found: set[int] = set()
    for netns, devices in then.by_netns.items():
        known = before.by_netns.get(netns, {})
        for name, device in devices.items():
            old = known.get(name)
            if old is not None and old.number == device.number and device.lost > old.lost:
                other = then.other_end(netns, name)
                found |= {netns} if other is None else {netns, other[0]}
    return frozenset(found)


def ring_drops(statistics: dict[str, int]) -> dict[str, int]:
    """Drops of receive queues among a driver's statistics; those at 0 are left out."""
    return {name: cut(n) for name, n in statistics.items() if n and RING_DROPS.fullmatch(name)}


def _say(ethtool: Ethtool, link: CountedLink, said: Said | None) -> Said:
    """A device that is asked again has the same driver."""
    driver = said.driver if said is not None else unless_unreadable(partial(ethtool.driver, link.name))
    line = unless_unreadable(partial(ethtool.line, link.name))
    return Said(link.carrier_changes, driver, line.speed_mbps if line else None, line.duplex if line else None)


def _is_of_interest(link: CountedLink) -> bool:
    """Every namespace has loopback, and tunnels that nobody uses."""
    return not link.loopback and (link.up or bool(link.statistics))


def _queues(netlink: CounterSocket) -> dict[int, CountedQueue]:
    """By the number of the device. Raises UnreadableError."""
    return {queue.device: queue for queue in netlink.root_queues(QUEUES_PER_NETNS)}


def _counters(link: CountedLink, queue: CountedQueue | None) -> LinkCounters:
    s = link.statistics
    no_room = ("rx_missed_errors", "rx_fifo_errors", "rx_over_errors")
    known = queue if queue is not None and queue.kind != "noqueue" else None
    # Drivers differ in whether rx_errors has these in it.
    line = max(s.get("rx_errors", 0) - sum(s.get(name, 0) for name in no_room), s.get("rx_crc_errors", 0))
    return LinkCounters(
        number=link.number, kind=link.kind, up=link.up, carrier=link.carrier, peer=link.peer,
        rx_packets=s.get("rx_packets", 0), tx_packets=s.get("tx_packets", 0),
        rx_missed=cut(sum(s.get(name, 0) for name in no_room)), rx_errors=line, rx_dropped=s.get("rx_dropped", 0),
        rx_nohandler=s.get("rx_nohandler", 0), tx_errors=s.get("tx_errors", 0), tx_dropped=s.get("tx_dropped", 0),
        carrier_changes=link.carrier_changes, carrier_downs=link.carrier_downs,
        queue=known.kind if known else None, queue_drops=known.drops if known else 0,
        queue_packets=known.packets if known else 0,
    )  # fmt: skip


def _with_hardware(counters: LinkCounters, said: Said, rings: dict[str, int]) -> LinkCounters:
    return msgspec.structs.replace(counters, speed_mbps=said.speed_mbps, duplex=said.duplex, rings=rings)
