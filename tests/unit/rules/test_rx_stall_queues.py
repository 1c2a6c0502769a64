"""Packets that wait for those before them: when that is a burst, a queue that stands, or the doing of a task."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.stalls import CpuDelays, Stall, StallKind
from whodunnet.rules.stall_bursts import MOST, burst_waits
from whodunnet.rules.stall_shapes import Shape

from .nodes import FROM_BOOT, parties
from .stalled import (
    HERTZ,
    IDLE,
    KSOFTIRQD,
    MONITOR,
    REAL_TIME,
    again,
    blamed,
    cleared,
    ended,
    found,
    held,
    not_checked,
    said,
    stall,
    stolen,
    watched,
)


@pytest.mark.parametrize(("packets", "shape"), [(321, "overload"), (320, "softirq-hog")])
def test_a_packet_that_waits_for_those_before_it_waits_although_no_run_is_long(packets: int, shape: Shape) -> None:
    one = stall(
        held(MONITOR, 2, softirq="NET_RX"), held(KSOFTIRQD, 1, softirq="NET_RX"), held(KSOFTIRQD, 1),
        wait=0.016, kind="queued", end=ended(KSOFTIRQD), packets=packets,
    )  # fmt: skip
    (finding,) = found(*again(one))
    assert (finding.shape, blamed(*again(one))) == (shape, [])
    assert "ran for" not in finding.title
    assert "waited for those before it in the backlog" in finding.evidence[0].statement
    assert finding.evidence[1].value == 0.016


def test_a_packet_that_waits_behind_others_while_tasks_have_the_cpu_names_nobody() -> None:
    behind = stall(held(MONITOR, 3), held(KSOFTIRQD, 3, softirq="NET_RX"), wait=0.024, kind="queued")
    assert [(f.shape, blamed(*again(behind))) for f in found(*again(behind))] == [("many-holders", [])]
    paused = stall(held(MONITOR, 3), held(KSOFTIRQD, 1, softirq="NET_RX"), wait=0.2, kind="queued", expected_samples=50)
    assert found(*again(paused), virtual=False) == []
    met_once = stall(held(KSOFTIRQD, 1, softirq="NET_RX"), wait=0.012, kind="queued", expected_samples=1)
    assert found(*again(met_once)) == []


def test_a_queue_that_stands_is_grave_by_the_longest_wait_alone() -> None:
    waits = [stall(held(KSOFTIRQD, n, softirq="NET_RX"), wait=n / 250, kind="queued", packets=9) for n in (24, 25)]
    assert [found(one, *again(*waits[:1], times=5)[1:])[0].severity for one in waits] == ["warning"] * 2
    assert found(*again(*waits[1:]))[0].severity == "critical"


def test_one_burst_that_fills_a_queue_is_no_finding() -> None:
    burst = stall(held(KSOFTIRQD, 20, softirq="NET_RX"), wait=0.08, kind="queued", packets=1000)
    answer = cleared(watched(burst))
    assert "1 stall of 10 ms or more in 3 s, longest 80 ms" in answer.sensitivity
    assert answer.sensitivity.endswith("; a packet waited 80 ms behind others, once")


def burst_of(*ends_and_waits: tuple[float, float], cpu: int = 1) -> list[Stall]:
    """Packets that waited for others in ksoftirqd: when each wait was over, and how long it was."""
    return [
        stall(held(KSOFTIRQD, round(wait * HERTZ), softirq="NET_RX"), wait=wait, kind="queued", packets=9, cpu=cpu,
              ended_boot_seconds=FROM_BOOT + end)
        for end, wait in ends_and_waits
    ]  # fmt: skip


def test_one_burst_is_one_whatever_it_shows_as() -> None:
    """Its next packet is followed when one has left; RPS spreads it over CPUs."""
    in_turn = burst_of((0.016, 0.012), (0.072, 0.052))
    assert found(*in_turn) == []
    assert found(*burst_of((1.0, 0.12)), *burst_of((1.0, 0.12), cpu=0)) == []
    apart = burst_of((0.016, 0.012), (0.08, 0.052))
    assert [f.shape for f in found(*apart)] == ["softirq-hog"]


@pytest.mark.parametrize(("waits", "severities"), [(2, []), (3, ["critical"])])
def test_a_queue_that_stands_is_no_burst(waits: int, severities: list[str]) -> None:
    standing = burst_of(*((0.12 * (n + 1), 0.12) for n in range(waits)))
    assert [f.severity for f in found(*standing)] == severities


@pytest.mark.parametrize("wait", [1e-9, 1e-300])
def test_of_impossible_waits_no_more_are_counted_than_fit_into_memory(wait: float) -> None:
    """A recording comes from strangers."""
    one = burst_of((1.0, 0.1))[0]
    waits = [replace(one, wait_seconds=wait, ended_boot_seconds=FROM_BOOT + 0.009 * n) for n in range(100)]
    assert len(burst_waits(waits)) == MOST


@pytest.mark.parametrize(("wait", "told"), [(0.89, []), (0.9, [("softirq-hog", "likely", "warning")])])
def test_a_wait_for_a_third_of_the_window_is_no_burst(wait: float, told: list[tuple[str, str, str]]) -> None:
    """It cannot come often enough to be counted."""
    assert said(*burst_of((2.0, wait)), seconds=3.0) == told


@pytest.mark.parametrize("wait", [0.08, 0.12])
def test_a_burst_is_told_apart_from_short_stalls_however_long_it_was(wait: float) -> None:
    burst = stall(held(KSOFTIRQD, round(wait * HERTZ), softirq="NET_RX"), wait=wait, kind="queued", packets=9)
    cpu = CpuDelays(cpu=1, longest_seconds=0.012, longest_queued_seconds=wait)
    answer = cleared(watched(burst, stall(held(MONITOR, 3), wait=0.012), cpus=(cpu,)))
    told = f"; a packet waited {wait * 1000:.0f} ms behind others, once; otherwise fewer than 2 alike, none of 30 ms"
    assert told in answer.sensitivity
    assert answer.evidence[0].value == wait


def test_several_waits_behind_others_that_are_not_alike_are_counted() -> None:
    waits = [
        stall(held(KSOFTIRQD, 20, softirq="NET_RX"), wait=0.08, kind="queued", packets=9),
        stall(held(IDLE, 10, softirq="TIMER"), wait=0.04, kind="queued"),
    ]
    assert "; packets waited up to 80 ms behind others, 2 times" in cleared(watched(*waits)).sensitivity


def test_a_long_wait_behind_others_of_which_nobody_was_seen_clears_nobody() -> None:
    """The CPU stood still, or there is no record of it."""
    paused = stall(held(KSOFTIRQD, 3, softirq="NET_RX"), wait=0.12, kind="queued", expected_samples=30)
    unrecorded = CpuDelays(cpu=1, longest_seconds=0.0018, longest_queued_seconds=0.12)
    for node in (watched(paused), watched(cpus=(unrecorded,))):
        assert not_checked(node).reason.startswith("who held the CPU was not seen: ")


def test_packets_behind_others_are_told_apart_from_what_ran_long() -> None:
    """A burst of 120 ms and a run of 11 ms are chance, each of them."""
    run = stall(held(MONITOR, 3, softirq="NET_RX"), wait=0.011, kind="long", end=ended(MONITOR))
    late = stall(held(MONITOR, 3, softirq="NET_RX"), wait=0.011)
    burst = stall(
        held(KSOFTIRQD, 30, softirq="NET_RX"), wait=0.12, kind="queued", packets=9, ended_boot_seconds=FROM_BOOT + 2.0
    )
    assert found(run, burst, received=(90, 0)) == found(late, burst, received=(90, 0)) == []
    both = found(*again(run, burst), received=(90, 0))
    assert [(f.shape, f.severity, "ran for up to 11 ms" in f.title) for f in both] == [
        ("softirq-hog", "critical", False),
        ("softirq-hog", "warning", True),
    ]
    assert "kept a packet waiting for up to 120 ms" in both[0].title
    assert both[0].id != both[1].id


def test_an_overload_of_the_queue_is_told_apart_from_one_of_the_cpu() -> None:
    late = stall(held(MONITOR, 3, softirq="NET_RX"), wait=0.011)
    burst = stall(
        held(KSOFTIRQD, 30, softirq="NET_RX"), wait=0.12, kind="queued", packets=9_000, ended_boot_seconds=FROM_BOOT + 2
    )
    assert found(late, burst) == []
    assert len({f.id for f in found(*again(late, burst))}) == 2


@pytest.mark.parametrize(("ended_at", "told"), [(1.019, True), (1.021, False)])
def test_a_wait_that_another_stall_tells_of_is_not_told_twice(ended_at: float, told: bool) -> None:
    late = stall(held(MONITOR, 37), ended_boot_seconds=FROM_BOOT + 1.0)
    behind = stall(
        held(KSOFTIRQD, 9, softirq="NET_RX"), wait=0.04, kind="queued", ended_boot_seconds=FROM_BOOT + ended_at
    )
    shapes = {"syscall-hog"} if told else {"syscall-hog", "softirq-hog"}
    assert {f.shape for f in found(*again(late, behind))} == shapes
    elsewhere = replace(behind, cpu=0)
    assert {f.shape for f in found(*again(late, elsewhere))} == {"syscall-hog", "softirq-hog"}


def test_several_stalls_together_tell_of_a_wait_behind_others() -> None:
    runs = [
        stall(held(MONITOR, 4), wait=0.016, ended_boot_seconds=FROM_BOOT + end) for end in (0.94, 0.96, 0.98)
    ]  # fmt: skip
    behind = stall(held(KSOFTIRQD, 20, softirq="NET_RX"), wait=0.08, kind="queued", packets=9)
    assert [f.shape for f in found(*again(*runs, behind))] == ["syscall-hog"]
    assert len(found(*again(*runs[:2], behind))) == 2


def test_a_short_stall_in_a_long_wait_behind_others_does_not_hide_it() -> None:
    """A long filter that keeps packets waiting for 90 ms, while ksoftirqd waits for 12 ms once in each."""
    both = [
        one
        for n in (1.0, 2.0)
        for one in (
            stall(held(MONITOR, 3, mode="user"), wait=0.012, ended_boot_seconds=FROM_BOOT + n - 0.03),
            stall(held(KSOFTIRQD, 22, softirq="NET_RX"), wait=0.09, kind="queued", ended_boot_seconds=FROM_BOOT + n),
        )
    ]
    assert [(f.shape, f.severity) for f in found(*both, seconds=3.0)] == [
        ("softirq-hog", "warning"),
        ("overload", "info"),
    ]


def test_a_pause_tells_of_no_wait_behind_others() -> None:
    """Of the pause nobody knows what it was. If the queue was not looked at either, the CPU stood still once."""
    pause = stall(held(MONITOR, 1, mode="user"), wait=0.05, expected_samples=12, ended_boot_seconds=FROM_BOOT + 0.99)
    behind = stall(held(KSOFTIRQD, 12, softirq="NET_RX"), wait=0.08, kind="queued", packets=9, expected_samples=20)
    assert [f.shape for f in found(*again(pause, behind))] == ["softirq-hog"]
    unseen = replace(behind, samples=5)
    assert "; once a CPU stood still" in cleared(watched(pause, unseen)).sensitivity


def test_interrupts_that_may_have_been_off_tell_of_no_wait_behind_others() -> None:
    """It is no finding on a virtual machine."""
    off = stall(held(MONITOR, 4), wait=0.041, expected_samples=10, ended_boot_seconds=FROM_BOOT + 0.98)
    behind = stall(held(KSOFTIRQD, 10, softirq="NET_RX"), held(MONITOR, 4), wait=0.08, kind="queued", packets=9,
                   expected_samples=20)  # fmt: skip
    assert [f.shape for f in found(*again(off, behind))] == ["softirq-hog"]


def test_what_the_hypervisor_took_is_not_missing_twice() -> None:
    """While NET_RX was late a packet waited as well: one pause explains both."""
    late = stall(held(MONITOR, 1), wait=0.12, expected_samples=30)
    behind = stall(held(MONITOR, 1), wait=0.12, kind="queued", expected_samples=30)
    assert said(late, behind, cpus=stolen(0.07, 0.12)) == [("steal", "likely", "warning")]


def test_a_real_time_task_that_leaves_little_to_ksoftirqd_is_named_for_the_queue() -> None:
    spins = held(REAL_TIME, 20, mode="user", system_call=None, functions=None)
    one = stall(spins, held(KSOFTIRQD, 5, softirq="NET_RX"), wait=0.1, kind="queued", packets=50, end=spins)
    assert said(*again(one)) == [("starved-thread", "proven", "critical")]
    assert blamed(*again(one)) == ["app7"]
    assert said(one) == [("starved-thread", "proven", "critical")]  # it held the CPU: no burst does that
    unmet = replace(one, holders=(spins, held(MONITOR, 5, softirq="NET_RX")))
    assert [(f.shape, blamed(*again(unmet))) for f in found(*again(unmet))] == [("many-holders", [])]


def test_one_moment_is_not_counted_as_two_stalls_of_one_task() -> None:
    """It is late for 11 ms, and the packet waits for 24 ms in all: the samples are the same ones."""
    spins = held(REAL_TIME, 3, mode="user", system_call=None, functions=None)
    late = stall(spins, wait=0.011, ended_boot_seconds=FROM_BOOT + 0.987)
    more = replace(spins, samples=5)
    behind = stall(more, held(KSOFTIRQD, 1, softirq="NET_RX"), wait=0.024, kind="queued", end=more)
    assert found(late, behind) == []
    assert [f.shape for f in found(late, replace(behind, ended_boot_seconds=FROM_BOOT + 2.0))] == ["starved-thread"]


def test_a_short_stall_does_not_hide_the_longer_wait_of_the_same_task() -> None:
    spins = held(REAL_TIME, 18, mode="user", system_call=None, functions=None)
    behind = stall(spins, held(KSOFTIRQD, 4, softirq="NET_RX"), wait=0.09, kind="queued", packets=50, end=spins)
    late = stall(replace(spins, samples=3), wait=0.012, ended_boot_seconds=FROM_BOOT + 0.97)
    alone, both = found(behind), found(late, behind)
    assert [(f.shape, f.confidence, f.title) for f in alone] == [(f.shape, f.confidence, f.title) for f in both]
    assert both[0].confidence == "proven"


@pytest.mark.parametrize("kind", ["long", "queued", "late"])
def test_a_softirq_that_spins_for_a_lock_is_held_up_itself(kind: StallKind) -> None:
    """On a virtual machine who has it may not run for long."""
    functions = ("__pv_queued_spin_lock_slowpath", "_raw_spin_lock", "__netif_receive_skb_core")
    spins = stall(held(MONITOR, 25, softirq="NET_RX", functions=functions), wait=0.1, kind=kind, end=ended(MONITOR))
    assert said(*again(spins)) == [("many-holders", "likely", "warning")]


def test_a_stall_that_does_not_count_hides_no_other_wait() -> None:
    """Of two waits the longer one stands for the stall within both."""
    spins, thread = (
        held(REAL_TIME, 20, mode="user", system_call=None, functions=None),
        held(KSOFTIRQD, 1, softirq="NET_RX"),
    )
    longer = stall(spins, thread, wait=0.084, kind="queued", end=spins, ended_boot_seconds=FROM_BOOT + 1.0)
    late = stall(replace(spins, samples=10), wait=0.04, ended_boot_seconds=FROM_BOOT + 1.03)
    few = replace(spins, samples=9)
    shorter = stall(few, thread, wait=0.04, kind="queued", end=few, ended_boot_seconds=FROM_BOOT + 1.06)
    (found_one,) = found(longer, late, shorter)
    assert "received packets waited on CPU 1 2 times" in str(parties(found_one, "victim")[0].effect)


def test_tasks_that_have_their_turn_while_packets_wait_behind_others_are_an_overload() -> None:
    turns = held(MONITOR, 6, mode="user", system_call=None, functions=None)
    one = stall(turns, held(KSOFTIRQD, 3, softirq="NET_RX"), wait=0.036, kind="queued")
    assert [(f.shape, blamed(*again(one))) for f in found(*again(one))] == [("overload", [])]


@pytest.mark.parametrize(("samples", "named"), [(7, []), (8, ["app7"])])
def test_a_turn_between_two_runs_is_as_long_as_the_task_was_met(samples: int, named: list[str]) -> None:
    """Of a wait of 40 ms it had 28, or 32; only the latter is longer than any turn."""
    one = stall(
        held(MONITOR, samples), held(KSOFTIRQD, 10 - samples, softirq="NET_RX"), wait=0.04, kind="queued"
    )  # fmt: skip
    assert [(f.shape, blamed(*again(one))) for f in found(*again(one))] == [("syscall-hog", named)]


def test_the_clearing_tells_the_longest_wait_behind_others_and_whether_that_is_seen() -> None:
    cpu = CpuDelays(cpu=1, longest_seconds=0.0018, longest_queued_seconds=0.007)
    answer = cleared(watched(cpus=(cpu,)))
    assert answer.evidence[0].value == 0.007
    assert "those before them" not in answer.sensitivity
    blind = cleared(watched(backlogs_followed=False)).sensitivity
    assert blind.endswith("not seen how long packets waited for those before them")
    threads = cleared(watched(threads_watched=1)).sensitivity
    assert threads.endswith("not seen how long packets waited for those before them where a NAPI thread takes them up")
