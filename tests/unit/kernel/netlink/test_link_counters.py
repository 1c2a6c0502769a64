"""The decoders of device counters and queues, on bytes laid out by hand and on broken ones, and our own namespace."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.link_counters import (
    STATISTICS,
    CountedQueue,
    CounterSocket,
    decode_counted_link,
    decode_queue,
)

from ..damage import damaged
from .test_route import attribute, link

NAME, PEER, LINKINFO, STATS64, CARRIER, CHANGES, DOWNS = 3, 5, 18, 23, 33, 35, 48
KIND, STATS2, BASIC, QUEUE = 1, 7, 1, 3
ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1


def number(n: int) -> bytes:
    return struct.pack("=I", n)


def statistics(**values: int) -> bytes:
    return b"".join(struct.pack("=Q", values.get(name, 0)) for name in STATISTICS)


VETH = link(
    attribute(NAME, b"eth0\0"), attribute(PEER, number(9)), attribute(CARRIER, b"\1"), attribute(CHANGES, number(4)),
    attribute(DOWNS, number(2)), attribute(LINKINFO, attribute(KIND, b"veth\0")),
    attribute(STATS64, statistics(rx_packets=12, rx_missed_errors=2**63 + 5, rx_nohandler=3) + bytes(8)),
)  # fmt: skip


def queue(parent: int, kind: bytes = b"tbf\0", drops: int = 7, handle: int = 0x80010000) -> bytes:
    counted = attribute(BASIC, struct.pack("=QI", 5_000, 50)) + attribute(QUEUE, struct.pack("=5I", 1, 2, drops, 3, 4))
    return struct.pack("=BxHiIII", 0, 0, 9, handle, parent, 2) + attribute(KIND, kind) + attribute(STATS2, counted)


def test_a_device_has_its_counters_line_and_other_half() -> None:
    found = decode_counted_link(VETH)
    assert (found.number, found.name, found.kind, found.peer, found.carrier) == (7, "eth0", "veth", 9, True)
    assert (found.carrier_changes, found.carrier_downs, found.up, found.ethernet) == (4, 2, True, True)
    assert found.statistics == {"rx_packets": 12, "rx_missed_errors": 2**63 - 1, "rx_nohandler": 3}


def test_an_older_kernel_has_fewer_statistics_and_no_count_of_downs() -> None:
    older = link(attribute(NAME, b"eth0\0"), attribute(STATS64, statistics(rx_packets=5)[: 23 * 8]))
    found = decode_counted_link(older)
    assert (found.statistics, found.carrier_downs, found.carrier, found.kind) == ({"rx_packets": 5}, None, None, None)


def test_of_loopback_nothing_is_read() -> None:
    found = decode_counted_link(link(attribute(NAME, b"lo\0"), flags=0x9))
    assert (found.loopback, found.name) == (True, "")


def test_a_root_queue_has_its_drops_and_those_below_it_are_in_them() -> None:
    found = decode_queue(queue(ROOT))
    assert (found.counted, found.parent) == (CountedQueue(device=9, kind="tbf", drops=7, packets=50), ROOT)
    assert decode_queue(queue(0x80010001)).parent == 0x80010001


class Dumped(CounterSocket):
    """Answers with these messages."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = messages

    def dump(self, _kind: int, _body: bytes) -> Iterator[memoryview]:
        yield from map(memoryview, self._messages)


@pytest.mark.parametrize(
    ("leaves", "kind"),
    [
        ((b"fq_codel\0", b"fq_codel\0"), "mq fq_codel"),
        ((b"fq_codel\0", b"tbf\0"), "mq"),
        ((), "mq"),
    ],
)
def test_one_queue_for_each_of_hardware_is_called_by_what_they_are(leaves: tuple[bytes, ...], kind: str) -> None:
    """As the kernel makes them by itself, all without a handle (mq_init, attach_one_default_qdisc)."""
    below = [queue(place + 1, leaf, handle=0) for place, leaf in enumerate(leaves)]
    netlink = Dumped(queue(ROOT, b"mq\0", handle=0), *below, queue(INGRESS, b"ingress\0", handle=0xFFFF0000))
    assert list(netlink.root_queues(100)) == [CountedQueue(device=9, kind=kind, drops=7, packets=50)]


def test_what_is_below_a_queue_of_another_kind_is_not_told() -> None:
    """A limit that somebody set drops whatever is below it."""
    netlink = Dumped(queue(ROOT, b"htb\0"), queue(0x80010001, b"fq_codel\0"))
    assert [one.kind for one in netlink.root_queues(100)] == ["htb"]


@pytest.mark.parametrize("message", [b"", VETH[:15], VETH[:-3], link(b"\0\0\3\0"), link(attribute(PEER, b"\1"))])
def test_a_device_whose_lengths_do_not_fit_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedError, match="rtnetlink: "):
        decode_counted_link(message)


@pytest.mark.parametrize("message", [b"", queue(ROOT)[:19], queue(ROOT)[:-1], queue(ROOT) + b"\1"])
def test_a_queue_whose_lengths_do_not_fit_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedError, match="rtnetlink: "):
        decode_queue(message)


@given(st.one_of(st.binary(max_size=200), damaged(VETH)))
def test_any_bytes_are_a_device_or_malformed(message: bytes) -> None:
    try:
        found = decode_counted_link(message)
    except MalformedError:
        return
    assert all(n >= 0 for n in found.statistics.values())


@given(st.one_of(st.binary(max_size=200), damaged(queue(ROOT))))
def test_any_bytes_are_a_queue_or_malformed(message: bytes) -> None:
    try:
        found = decode_queue(message)
    except MalformedError:
        return
    assert found.counted.drops >= 0


def test_our_own_namespace_has_the_devices_of_proc() -> None:
    with CounterSocket() as netlink:
        found = {one.name for one in netlink.counted_links(1000) if not one.loopback}
        queues = list(netlink.root_queues(1000))
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    assert found == {line.partition(":")[0].strip() for line in lines} - {"lo"}
    assert all(one.kind for one in queues)
