"""Differences between readings of softnet: over counters that begin again, CPUs that come and go, and parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.sample import Moment
from whodunnet.model.softnet import WRAP, CpuWork, ReceivingDevice, Softnet
from whodunnet.model.softnet_window import GROWING, WRAPPING, Part, added, joined, parts, risen

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
COUNTER = st.integers(0, WRAP - 1)
CPU = st.builds(CpuWork, processed=COUNTER, dropped=COUNTER, squeezed=COUNTER, total_ms=st.none() | COUNTER)


def at(seconds: float) -> Moment:
    return Moment(wall=BEGIN + timedelta(seconds=seconds), boot_seconds=seconds)


def cpu(n: int, **other: int | None) -> CpuWork:
    return CpuWork(processed=n, dropped=0, squeezed=0, **other)


def reading(*processed: int, received: int = 0) -> Softnet:
    devices = {"eth0": ReceivingDevice(queues=((),), received=received)}
    return Softnet(by_cpu=dict(enumerate(map(cpu, processed))), devices=devices)


def test_every_counter_is_of_one_kind() -> None:
    assert {*WRAPPING, *GROWING, "waiting"} == set(CpuWork.__struct_fields__)


def test_a_counter_of_32_bits_begins_again() -> None:
    assert risen(cpu(WRAP - 3), cpu(4)).processed == 7


def test_time_that_goes_back_by_a_tick_is_no_time() -> None:
    assert risen(cpu(0, idle_ms=510), cpu(0, idle_ms=500)).idle_ms == 0


def test_unknown_stays_unknown() -> None:
    assert risen(cpu(0, steered=None), cpu(0, steered=5)).steered is None
    assert added(cpu(0, total_ms=None), cpu(0, total_ms=5)).total_ms is None


def test_what_waits_is_that_of_the_end() -> None:
    assert risen(cpu(0, waiting=9), cpu(0, waiting=2)).waiting == 2


@given(st.lists(CPU, min_size=2, max_size=8))
def test_rises_of_all_steps_are_the_rise_of_the_whole_if_nothing_wraps_twice(readings: list[CpuWork]) -> None:
    steps = [risen(a, b) for a, b in pairwise(readings)]
    total = steps[0]
    for step in steps[1:]:
        total = added(total, step)
    assert total.processed % WRAP == risen(readings[0], readings[-1]).processed


def test_parts_are_at_least_so_long_and_the_rest_goes_to_the_last() -> None:
    series = [(at(s), reading(s)) for s in range(8)]
    found = parts(series, 3.0)
    assert [(p.seconds, p.by_cpu[0].processed) for p in found] == [(3.0, 3), (4.0, 4)]
    assert [p.seconds for p in parts(series)] == [1.0] * 7
    assert [p.seconds for p in parts(series, 100.0)] == [7.0]


def test_one_reading_has_no_part() -> None:
    assert parts([(at(0), reading(1))]) == []


def test_a_cpu_is_in_a_part_if_it_was_online_throughout() -> None:
    series = [(at(0), reading(1, 1)), (at(1), reading(2)), (at(2), reading(3, 9))]
    assert [sorted(p.by_cpu) for p in parts(series)] == [[0], [0]]


def test_packets_of_a_device_are_those_between_the_ends() -> None:
    first, second = parts([(at(0), reading(0, received=5)), (at(1), reading(0, received=7)), (at(2), reading(0))])
    assert first.received("eth0") == 2
    assert second.received("eth0") is None
    assert joined(first, second).received("eth0") is None
    assert first.received("eth1") is None


def test_a_part_knows_its_ends() -> None:
    part = parts([(at(2), reading(0)), (at(5), reading(4))])[0]
    assert isinstance(part, Part)
    assert (part.begin.boot_seconds, part.end.boot_seconds, part.seconds) == (2, 5, 3)
