"""Readings of stalls as one window, and how many of them a window keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model import stall_window as stall_window_module
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.stall_window import StallWindow, bounded_stalls, stall_window
from whodunnet.model.stalls import CpuDelays, DelaySpan, Holder, Stall, Stalls, Task, delay_spans
from whodunnet.model.workload import Process, Workload, Workloads

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASK = Task(pid=7, tid=7, comm="x", thread="x", process_started_seconds=1.0)
END = Holder(task=TASK, mode="kernel", samples=1, seconds=0.0)


def stall(wait: float, at: float = 0.5, kind: Any = "late") -> Stall:
    return Stall(ended_boot_seconds=at, cpu=0, kind=kind, wait_seconds=wait, end=END)


def reading(*stalls: Stall, started: float = 1.0, **other: Any) -> Stalls:
    return Stalls(
        stalls=stalls, **{"watched_seconds": 1.0, "threshold_seconds": 0.01, "started_seconds": started, **other}
    )


def recorded(*samples: Stalls | Failure, workloads: Workloads | None = None) -> Recording:
    """A reading each second; those after the first with these workloads."""
    snapshots = []
    for n, sample in enumerate(samples):
        more = {"workloads": workloads} if workloads is not None and n else {}
        at = Moment(BEGIN + timedelta(seconds=n), float(n))
        snapshots.append(Snapshot(at=at, samples={"stalls": sample, **more}))
    return Recording(node=Node(hostname="n", kernel="6", boot_id="b"), snapshots=tuple(snapshots))


def window(*samples: Stalls | Failure, **more: Any) -> StallWindow:
    found = stall_window(recorded(*samples, **more))
    assert found is not None
    return found


def cpu(*counts: int, **other: Any) -> tuple[CpuDelays, ...]:
    return (CpuDelays(cpu=0, delays=delay_spans(counts), **other),)


def test_without_a_reading_there_is_no_window_and_one_has_seen_nothing() -> None:
    assert stall_window(recorded(Failure(code="unsupported", reason="no BPF"))) is None
    one = window(reading(stall(1.0)))
    assert (one.seconds, one.readings, one.stalls, one.cpus) == (0.0, 1, (), ())


def test_stalls_of_all_readings_but_the_first_are_there_in_order_with_who_was_known_then() -> None:
    who = Workloads(by_pid={7: Workload(process=Process(pid=7, comm="x"))})
    found = window(reading(stall(9.0)), reading(stall(0.1, 0.9)), reading(stall(0.2, 0.3)), workloads=who)
    assert [s.stall.wait_seconds for s in found.stalls] == [0.2, 0.1]
    assert [s.workloads for s in found.stalls] == [who, who]
    assert [s.at.boot_seconds for s in found.stalls] == [2.0, 1.0]


def test_delays_are_by_how_much_they_grew_with_the_longest_of_any_reading() -> None:
    found = window(
        reading(cpus=cpu(5, 1, longest_seconds=9.0, samples=10, stolen_seconds=1.0)),
        reading(cpus=cpu(7, 1, longest_seconds=0.5, samples=20, stolen_seconds=1.25)),
        reading(cpus=cpu(7, 4, 2, longest_seconds=0.2, samples=40, stolen_seconds=1.25)),
    )
    (only,) = found.cpus
    assert only.delays == delay_spans([2, 3, 2])
    assert (only.longest_seconds, only.samples, only.stolen_seconds) == (0.5, 30, 0.25)
    assert found.longest_seconds == 0.5


def test_what_the_hypervisor_took_is_known_for_each_reading() -> None:
    first, then, last = (reading(stall(0.1), cpus=cpu(1, stolen_seconds=s)) for s in (1.0, 1.5, 1.5))
    assert [s.stolen_seconds for s in window(first, then, last).stalls] == [0.5, 0.0]
    unknown = reading(stall(0.1), cpus=cpu(1))
    assert [s.stolen_seconds for s in window(first, unknown, reading(stall(0.1))).stalls] == [None, None]


def test_a_recorder_that_was_started_anew_had_nothing_before() -> None:
    before = reading(cpus=cpu(50, stolen_seconds=3.0), lost=5, suppressed=5, watched_seconds=60.0)
    anew = reading(cpus=cpu(3, stolen_seconds=0.5), lost=1, suppressed=2, started=40.0)
    found = window(before, anew)
    assert (found.cpus[0].delayed, found.cpus[0].stolen_seconds) == (3, 0.5)
    assert (found.lost, found.suppressed) == (1, 2)


def test_losses_are_of_the_window() -> None:
    found = window(
        reading(lost=5, suppressed=1, left_out=9), reading(lost=7, suppressed=1, left_out=3), reading(lost=7)
    )
    assert (found.lost, found.suppressed, found.left_out) == (2, 0, 3)


def test_delays_as_long_as_a_stall_that_are_in_no_reading_are_counted() -> None:
    spans = (DelaySpan(0.008, 0.0125, 4), DelaySpan(0.0125, 0.0167, 3), DelaySpan(0.1, None, 2))
    cpus = (CpuDelays(cpu=0, delays=spans),)
    assert window(reading(), reading(cpus=cpus)).unlisted == 5
    assert window(reading(), reading(stall(0.1), stall(0.2, kind="silent"), cpus=cpus)).unlisted == 4
    assert window(reading(), reading(*[stall(0.1)] * 9, cpus=cpus)).unlisted == 0


def test_a_short_stall_that_is_listed_does_not_stand_for_a_long_one_that_is_not() -> None:
    cpus = (CpuDelays(cpu=0, delays=(DelaySpan(0.0084, 0.0125, 2), DelaySpan(0.05, 0.067, 2))),)
    assert window(reading(), reading(stall(0.011), stall(0.012), cpus=cpus)).unlisted == 2
    assert window(reading(), reading(stall(0.011), stall(0.06), cpus=cpus)).unlisted == 1


def test_delays_of_threads_that_are_in_no_reading_are_counted_too() -> None:
    cpus = (CpuDelays(cpu=0, thread_delays=(DelaySpan(0.002, 0.003, 9), DelaySpan(0.05, 0.067, 2))),)
    assert window(reading(), reading(stall(0.06), cpus=cpus)).unlisted == 2
    assert window(reading(), reading(stall(0.06, kind="thread"), cpus=cpus)).unlisted == 1


def test_the_longest_wait_is_at_least_that_of_the_class_it_was_counted_in() -> None:
    """The reading that had the longest itself may be one that was left out."""
    counted = cpu(900, 7, *[0] * 40, 1, longest_seconds=0.0018)
    assert window(reading(), reading(cpus=counted)).longest_seconds == counted[0].delays[-1].since > 0.0018
    threads = (CpuDelays(cpu=0, thread_delays=(DelaySpan(0.002, 0.003, 9),)),)
    assert window(reading(), reading(cpus=threads)).longest_seconds == 0.002


# --- Bounds -------------------------------------------------------------------------------------------------------


def waits(snapshots: list[Snapshot]) -> list[list[float]]:
    return [[s.wait_seconds for s in x.stalls] for snapshot in snapshots for x in snapshot.samples.values()]  # type: ignore[union-attr]


def test_the_longest_stalls_of_a_window_are_kept_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall_window_module, "STALLS_IN_WINDOW", 3)
    few = recorded(reading(stall(1.0)), reading(stall(2.0), stall(3.0))).snapshots
    assert bounded_stalls(few) == list(few)
    many = recorded(reading(stall(1.0), stall(5.0)), reading(stall(2.0), stall(3.0), left_out=4)).snapshots
    kept = bounded_stalls(many)
    assert waits(kept) == [[5.0], [2.0, 3.0]]
    assert [x.left_out for s in kept for x in s.samples.values()] == [1, 4]  # type: ignore[union-attr]


def test_a_wait_behind_others_makes_room_for_the_stall_it_came_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stall_window_module, "STALLS_IN_WINDOW", 3)
    behind = stall(9.0, kind="queued"), stall(8.0, kind="queued")
    assert waits(bounded_stalls(recorded(reading(*behind, stall(1.0), stall(2.0))).snapshots)) == [[9.0, 1.0, 2.0]]
    elsewhere = [replace(one, cpu=behind[0].cpu + 1) for one in (stall(1.0), stall(2.0))]
    assert waits(bounded_stalls(recorded(reading(*behind, *elsewhere)).snapshots)) == [[9.0, 8.0, 2.0]]


@given(st.lists(st.lists(st.sampled_from([0.01, 0.02, 0.03]), max_size=6), min_size=1, max_size=5), st.integers(1, 9))
def test_never_more_are_kept_than_there_is_room_for_and_none_is_forgotten(sizes: list[list[float]], room: int) -> None:
    snapshots = recorded(*(reading(*map(stall, size)) for size in sizes)).snapshots
    before, stall_window_module.STALLS_IN_WINDOW = stall_window_module.STALLS_IN_WINDOW, room
    try:
        kept = bounded_stalls(snapshots)
    finally:
        stall_window_module.STALLS_IN_WINDOW = before
    left = sorted((w for one in waits(kept) for w in one), reverse=True)
    assert left == sorted((w for size in sizes for w in size), reverse=True)[:room]
    assert sum(x.left_out for s in kept for x in s.samples.values()) + len(left) == sum(map(len, sizes))  # type: ignore[union-attr]
    assert bounded_stalls([replace(s) for s in kept]) == kept
