"""What network devices lost within a recording: rises of their counters, from reading to reading of the same device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from whodunnet.model.links import QUEUE_WRAP, LinkCounters, Links
from whodunnet.model.sample import Moment

V = TypeVar("V", int, str)
Readings = Sequence[tuple[Moment, LinkCounters]]


class DeviceRise(msgspec.Struct, frozen=True, kw_only=True):
    """One device over the readings it is in, at least two. Packets; counters that were reset meanwhile begin anew.

    begin, end: of those readings. downs, changes: of its carrier; downs is None before Linux 4.16, and changes before
    3.15. speeds, duplexes: before and after, where these differ. rings: by the driver's names, where they rose.
    """

    netns: int
    name: str
    begin: Moment
    end: Moment
    last: LinkCounters
    received: int
    sent: int
    queued: int
    rx_missed: int
    rx_errors: int
    rx_dropped: int
    tx_errors: int
    tx_dropped: int
    queue_drops: int
    downs: int | None
    changes: int | None
    speeds: tuple[int, int] | None
    duplexes: tuple[str, str] | None
    rings: dict[str, int]

    @property
    def seconds(self) -> float:
        """From the first of its readings to the last."""
        return self.end.boot_seconds - self.begin.boot_seconds

    @property
    def is_hardware(self) -> bool:
        """Not made by the kernel alone."""
        return self.last.kind is None


class LinkWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Every device with two readings or more. fresh: devices of the newest sample without."""

    begin: Moment
    end: Moment
    first: Links
    last: Links
    devices: tuple[DeviceRise, ...]
    fresh: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end.boot_seconds - self.begin.boot_seconds


def link_window(series: Sequence[tuple[Moment, Links]]) -> LinkWindow | None:
    """None without two samples: one reading cannot show a rise."""
    if len(series) < 2:
        return None
    by_device: dict[tuple[int, str, int], list[tuple[Moment, LinkCounters]]] = {}
    for at, sample in series:
        for netns, devices in sample.by_netns.items():
            for name, device in devices.items():
                by_device.setdefault((netns, name, device.number), []).append((at, device))
    rises = [_rise(netns, name, found) for (netns, name, _), found in by_device.items() if len(found) > 1]
    newest = sum(len(devices) for devices in series[-1][1].by_netns.values())
    still = sum(rise.end == series[-1][0] for rise in rises)
    return LinkWindow(
        begin=series[0][0], end=series[-1][0], first=series[0][1], last=series[-1][1], devices=tuple(rises),
        fresh=newest - still,
    )  # fmt: skip


def _rise(netns: int, name: str, readings: Readings) -> DeviceRise:
    (begin, first), (end, last) = readings[0], readings[-1]
    return DeviceRise(
        netns=netns, name=name, begin=begin, end=end, last=last,
        received=_sum(readings, lambda d: d.rx_packets), sent=_sum(readings, lambda d: d.tx_packets),
        queued=_wrapping(readings, lambda d: d.queue_packets), rx_missed=_sum(readings, lambda d: d.rx_missed),
        rx_errors=_sum(readings, lambda d: d.rx_errors), rx_dropped=_sum(readings, lambda d: d.rx_dropped),
        tx_errors=_sum(readings, lambda d: d.tx_errors), tx_dropped=_sum(readings, lambda d: d.tx_dropped),
        queue_drops=_wrapping(readings, lambda d: d.queue_drops),
        downs=_sum(readings, lambda d: d.carrier_downs or 0) if last.carrier_downs is not None else None,
        changes=_sum(readings, lambda d: d.carrier_changes or 0) if last.carrier_changes is not None else None,
        speeds=_changed(first.speed_mbps, last.speed_mbps), duplexes=_changed(first.duplex, last.duplex),
        rings=_rings(readings),
    )  # fmt: skip


def _sum(readings: Readings, read: Callable[[LinkCounters], int]) -> int:
    return sum(max(read(then) - read(before), 0) for (_, before), (_, then) in pairwise(readings))


def _wrapping(readings: Readings, read: Callable[[LinkCounters], int]) -> int:
    """Of a queue that stayed of one kind: another one begins at 0. A fall of more than half the range is no wrap."""
    found = 0
    for (_, before), (_, then) in pairwise(readings):
        rise = (read(then) - read(before)) % QUEUE_WRAP
        found += rise if before.queue == then.queue and rise < QUEUE_WRAP // 2 else 0
    return found


def _rings(readings: Readings) -> dict[str, int]:
    names = sorted({name for _, device in readings for name in device.rings})
    risen = [(name, sum(_ring_rises(readings, name))) for name in names]
    return {name: n for name, n in risen if n}


def _ring_rises(readings: Readings, name: str) -> Iterator[int]:
    for (_, before), (_, then) in pairwise(readings):
        yield max(then.rings.get(name, 0) - before.rings.get(name, 0), 0)


def _changed(before: V | None, then: V | None) -> tuple[V, V] | None:
    """What is not known at one end has not changed."""
    return (before, then) if before is not None and then is not None and before != then else None
