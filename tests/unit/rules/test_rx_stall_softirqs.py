"""Softirqs that keep packets waiting: one that runs long, or too many packets; nobody is to blame for them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.stalls import Task
from whodunnet.rules.stall_shapes import Shape

from .stalled import (
    IDLE,
    KSOFTIRQD,
    MONITOR,
    NAPI,
    REAL_TIME,
    WORKER,
    blamed,
    cleared,
    ended,
    found,
    gap,
    held,
    said,
    stall,
    watched,
)


@pytest.mark.parametrize("task", [MONITOR, REAL_TIME, WORKER])
def test_whoever_a_softirq_interrupted_is_never_named(task: Task) -> None:
    timers = stall(held(task, 37, softirq="TIMER", functions=("mod_timer_list", "run_timer_softirq")))
    (finding,) = found(timers)
    assert finding.shape == "softirq-hog"
    assert "TIMER" in finding.title
    assert "mod_timer_list" in finding.title
    assert [p.role for p in finding.parties] == ["victim"]


def test_a_softirq_that_had_interrupts_off_names_nobody_below_it() -> None:
    off = replace(gap(), end=replace(gap().end, softirq="TIMER"))
    assert said(*[off] * 5, virtual=False) == [("irqs-disabled", "possible", "info")]


def test_a_cpu_that_was_idle_meanwhile_was_held_by_nobody() -> None:
    assert found(*[stall(held(IDLE, 37, functions=None), kind="thread", end=ended(NAPI))] * 9) == []
    timers = stall(held(IDLE, 37, softirq="TIMER"))
    assert said(timers) == [("softirq-hog", "proven", "critical")]


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        ((30_000, 1), ("overload", "likely", "critical")),
        ((29_999, 1), ("softirq-hog", "proven", "critical")),  # few packets: what is done for each takes long
        ((90_000, 0), ("softirq-hog", "proven", "critical")),
        (None, ("overload", "possible", "info")),
    ],
)
def test_packets_that_wait_for_packets_are_an_overload_where_there_are_many(
    received: tuple[int, int] | None, answer: tuple[Shape, str, str]
) -> None:
    busy = stall(held(MONITOR, 30, softirq="NET_RX"), held(KSOFTIRQD, 7))
    assert said(busy, received=received) == [answer]
    assert blamed(busy, received=received) == []


@pytest.mark.parametrize(
    ("wait", "received", "shape"),
    [(0.02, 90_000, "overload"), (0.02, 90, "softirq-hog"), (0.06, 90_000, "softirq-hog")],
)
def test_a_round_of_net_rx_has_a_limit_of_its_own(wait: float, received: int, shape: Shape) -> None:
    samples = round(wait * 250)
    one = stall(held(MONITOR, samples, softirq="NET_RX"), wait=wait, kind="long", end=ended(MONITOR))
    assert [f.shape for f in found(one, one, received=(received, 9))] == [shape]
    assert blamed(one, one, received=(received, 9)) == []


def test_a_net_rx_that_was_met_once_in_each_run_may_have_been_paused() -> None:
    """A machine that does not run for 10 ms meanwhile looks the same; the clearing counts it."""
    once = stall(held(MONITOR, 1, softirq="NET_RX"), wait=0.012, kind="long", end=ended(MONITOR), expected_samples=2)
    answer = cleared(watched(*[once] * 9, received=(90, 0)))
    assert "no stall of 10 ms in 3 s, longest 1.8 ms" in answer.sensitivity
    assert "9 times a CPU stood still" in answer.sensitivity


def test_the_clearing_tells_how_long_net_rx_ran_on() -> None:
    run = stall(held(MONITOR, 4, softirq="NET_RX"), wait=0.018, kind="long", end=ended(MONITOR))
    answer = cleared(watched(run, received=(90, 0)))
    assert "1 stall of 10 ms or more in 3 s, longest 18 ms" in answer.sensitivity
    assert answer.evidence[0].value == 0.018


def test_runs_of_one_softirq_are_one_finding_whatever_function_each_was_met_in() -> None:
    runs = [
        stall(held(MONITOR, 10, softirq="NET_RX", functions=(name,)), wait=0.04, kind="long", end=ended(MONITOR))
        for name in ("nft_do_chain", "nft_do_chain", "nf_hook_slow")
    ]
    (finding,) = found(*runs, received=(90, 0))
    assert finding.shape == "softirq-hog"
    assert finding.evidence[0].value == 3
