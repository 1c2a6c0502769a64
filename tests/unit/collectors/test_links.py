"""The links collector: what becomes of the kernel's numbers, and which namespaces are read again."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.collectors import links
from whodunnet.collectors.links import LinksCollector, ring_drops, troubled
from whodunnet.kernel.namespaces import Way
from whodunnet.kernel.netlink.link_counters import CountedLink, CountedQueue
from whodunnet.kernel.roots import Roots
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.links import LinkCounters, Links

HOST, POD = 1, 2


def counted(number: int, name: str, **other: Any) -> CountedLink:
    fields: dict[str, Any] = {
        "kind": "veth", "up": True, "loopback": False, "ethernet": True, "peer": None, "carrier": True,
        "carrier_changes": 2, "carrier_downs": 1, "statistics": {},
    }  # fmt: skip
    return CountedLink(number=number, name=name, **{**fields, **other})


class Kernel:
    """Devices and queues by namespace, and how often each namespace was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices: dict[int, list[CountedLink]] = {}
        self.queues: dict[int, list[CountedQueue]] = {}
        self.ways: dict[int, Way] = {}
        self.asked: list[int] = []
        self.here = 0
        self.time = 100.0
        monkeypatch.setattr(links, "visit_all", self.visit_all)
        monkeypatch.setattr(links, "CounterSocket", lambda: self)
        monkeypatch.setattr(links, "monotonic", lambda: self.time)

    def visit_all(self, _roots: Roots, call: Any, *, remembered: Any) -> tuple[dict[int, Any], int]:
        found = {}
        for netns in self.devices:
            self.here = netns
            found[netns] = remembered(netns, self.ways.get(netns, Way(pid=netns))) or call()
        return found, 0

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None: ...

    def counted_links(self, _at_most: int) -> list[CountedLink]:
        self.asked.append(self.here)
        return self.devices[self.here]

    def root_queues(self, _at_most: int) -> list[CountedQueue]:
        return self.queues.get(self.here, [])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel(monkeypatch)
    found.devices = {
        HOST: [counted(1, "lo", loopback=True), counted(2, "br0", kind="bridge"), counted(9, "veth9", peer=2)],
        POD: [counted(2, "eth0", peer=9)],
    }
    return found


def one(kernel: Kernel, **statistics: int) -> LinkCounters:
    kernel.devices = {HOST: [counted(2, "br0", statistics=statistics)]}
    return LinksCollector(Roots()).collect().by_netns[HOST]["br0"]


def test_what_had_no_room_is_one_number_and_is_no_error(kernel: Kernel) -> None:
    found = one(kernel, rx_errors=10, rx_missed_errors=3, rx_fifo_errors=2, rx_over_errors=1, rx_dropped=7)
    assert (found.rx_missed, found.rx_errors, found.rx_dropped) == (6, 4, 7)


def test_a_driver_that_counts_lost_ones_apart_from_errors_keeps_its_errors(kernel: Kernel) -> None:
    found = one(kernel, rx_errors=2, rx_crc_errors=2, rx_missed_errors=50)
    assert (found.rx_missed, found.rx_errors) == (50, 2)


def test_sums_stay_within_bounds(kernel: Kernel) -> None:
    assert one(kernel, rx_missed_errors=INT64_MAX, rx_fifo_errors=9).rx_missed == INT64_MAX


def test_no_queue_is_none(kernel: Kernel) -> None:
    kernel.queues = {HOST: [CountedQueue(2, "noqueue", 5, 5), CountedQueue(9, "tbf", 7, 80)]}
    found = LinksCollector(Roots()).collect().by_netns[HOST]
    assert (found["br0"].queue, found["br0"].queue_drops) == (None, 0)
    assert (found["veth9"].queue, found["veth9"].queue_drops, found["veth9"].queue_packets) == ("tbf", 7, 80)


def test_loopback_and_what_was_never_used_are_left_out(kernel: Kernel) -> None:
    kernel.devices[HOST].append(counted(3, "tunl0", up=False))
    assert set(LinksCollector(Roots()).collect().by_netns[HOST]) == {"br0", "veth9"}


def test_a_pods_own_end_is_read_again_after_a_while_only(kernel: Kernel) -> None:
    collector = LinksCollector(Roots())
    for _ in range(4):
        collector.collect()
    assert kernel.asked.count(HOST) == 4
    assert kernel.asked.count(POD) == 1
    kernel.time += 11
    collector.collect()
    assert kernel.asked.count(POD) == 2


def test_a_namespace_with_the_number_of_another_is_read(kernel: Kernel) -> None:
    collector = LinksCollector(Roots())
    collector.collect()
    kernel.ways[POD] = Way(pid=77)
    collector.collect()
    assert kernel.asked.count(POD) == 2


def test_a_pods_own_end_with_a_queue_is_read_each_time(kernel: Kernel) -> None:
    kernel.queues = {POD: [CountedQueue(2, "tbf", 0, 0)]}
    collector = LinksCollector(Roots())
    collector.collect()
    collector.collect()
    assert kernel.asked.count(POD) == 2


def test_one_whose_other_end_is_not_seen_is_read_each_time(kernel: Kernel) -> None:
    kernel.devices[POD] = [counted(2, "eth0", kind="macvlan", peer=4)]
    collector = LinksCollector(Roots())
    collector.collect()
    collector.collect()
    assert kernel.asked.count(POD) == 2


def test_where_the_other_end_loses_packets_it_is_read_each_time(kernel: Kernel) -> None:
    collector = LinksCollector(Roots())
    collector.collect()
    kernel.devices[HOST][2] = counted(9, "veth9", peer=2, statistics={"tx_dropped": 5})
    collector.collect()
    collector.collect()
    assert collector.troubled == {HOST, POD}
    assert kernel.asked.count(POD) == 2


@pytest.mark.usefixtures("kernel")
def test_devices_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "DEVICES_LIMIT", 2)
    found = LinksCollector(Roots()).collect()
    assert (sum(map(len, found.by_netns.values())), found.left_out) == (2, 1)


def test_what_a_device_lost_before_is_no_trouble() -> None:
    before = Links.of({HOST: {"eth0": LinkCounters(number=1, rx_missed=5)}})
    other = Links.of({HOST: {"eth0": LinkCounters(number=7, rx_missed=9)}})
    assert troubled(before, before) == troubled(before, other) == frozenset()


def test_the_names_of_ring_drops_are_known_and_no_others() -> None:
    statistics = {
        "rx_drops": 9, "rx0_drops": 4, "rx12_drops": 0, "rx_queue_3_drops": 2, "[5]: rx_discards": 7, "rx0_packets": 8,
        "rx_no_dma_resources": 1, "tx0_drops": 6,
    }  # fmt: skip
    assert ring_drops(statistics) == {
        "rx0_drops": 4, "rx_queue_3_drops": 2, "[5]: rx_discards": 7, "rx_no_dma_resources": 1,
    }  # fmt: skip
