"""Whose packets waited, as far as it can be seen, and said plainly where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Finding
from whodunnet.model.softnet import ReceivingDevice
from whodunnet.rules.stall_sufferers import device_of, devices_at, sufferers

from .nodes import findings
from .receiving import device, softnet, work
from .stalled import MONITOR, NAPI, REAL_TIME, ended, held, stall, watched

BOTH = {"eth0": device([0], [1]), "eth1": device([0], [0])}


def effect(**devices: ReceivingDevice) -> Any:
    """Of the victim of a stall on CPU 1."""
    node = watched(stall(held(MONITOR, 37)))
    last = node.snapshots[-1]
    seen = replace(last, samples={**last.samples, "softnet": softnet(work(), work(), devices=devices)})
    (found,) = findings(replace(node, snapshots=(*node.snapshots[:-1], seen)), "rx-stall")
    assert isinstance(found, Finding)
    (victim,) = [p for p in found.parties if p.role == "victim"]
    assert victim.cpus == (1,)
    return victim.effect


@pytest.mark.parametrize(
    ("cpus", "names"), [((0,), ("eth0", "eth1")), ((1,), ("eth0",)), ((2,), ()), ((0, 1), ("eth0", "eth1"))]
)
def test_a_device_sends_its_packets_where_it_interrupts(cpus: tuple[int, ...], names: tuple[str, ...]) -> None:
    assert devices_at(cpus, BOTH) == names


def test_packets_that_are_steered_come_where_they_are_steered() -> None:
    steered = {"eth0": device([0], [0], queues=((1,), (1,)))}
    assert (devices_at((0,), steered), devices_at((1,), steered)) == ((), ("eth0",))
    some = {"eth0": device([0], [0], queues=((), (1,)))}
    assert (devices_at((0,), some), devices_at((1,), some)) == (("eth0",), ("eth0",))


def test_the_victims_are_told_by_cpu_and_by_device() -> None:
    assert effect(**BOTH) == (
        "received packets waited on CPU 1 once, 150 ms in all; of eth0 and whatever else comes there"
    )  # fmt: skip
    assert effect() == "received packets waited on CPU 1 once, 150 ms in all"


def test_whose_packets_they_were_is_said_not_to_be_seen() -> None:
    (found,) = findings(watched(stall(held(MONITOR, 37))), "rx-stall")
    assert any(
        line.startswith("Whose packets they were is not seen: all that came to CPU 1") for line in found.explanation
    )


def test_of_a_thread_that_waits_the_device_is_known() -> None:
    waits = stall(held(REAL_TIME, 37), kind="thread", end=ended(NAPI))
    assert device_of(waits) == "eth0"
    assert sufferers([waits], (1,), {}) == "; of eth0"
    assert device_of(stall(held(MONITOR, 37), end=ended(NAPI))) is None


def test_many_devices_are_counted_and_their_names_cleaned() -> None:
    many = {f"eth{n}\x1b": device([1]) for n in range(6)}
    told = sufferers([], (1,), many)
    assert told.endswith(" and 2 more and whatever else comes there")
    assert told.isprintable()
