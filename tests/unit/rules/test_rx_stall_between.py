"""Looks that fall between two softirqs, or where they begin: they tell of nobody, and excuse nobody."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.stalls import Stall
from whodunnet.rules.rx_stall import BEGIN

from .stalled import (
    DUMPS,
    HERTZ,
    INTERRUPTS,
    MONITOR,
    SPINS,
    again,
    blamed,
    cleared,
    found,
    gap,
    held,
    said,
    stall,
    stolen,
    watched,
)


@pytest.mark.parametrize("between", [4, 40])
def test_looks_between_softirqs_are_looks_at_somebody_else(between: int) -> None:
    """Interrupts that follow each other leave most looks there, of a task that hardly runs."""
    busy = stall(held(MONITOR, 4, functions=DUMPS), samples=4 + between, wait=(4 + between) / HERTZ)
    assert blamed(*again(busy, times=5), virtual=False) == []
    assert blamed(*again(replace(busy, samples=4, expected_samples=4), times=5), virtual=False) == ["app7"]


BETWEEN = "Moments at which the CPU was looked at meanwhile: those between two softirqs, at nobody in particular"


@pytest.mark.parametrize(
    ("tasks", "between", "times", "sure"),
    [
        (0, 41, 5, "possible"),
        (1, 40, 5, "possible"),
        (1, 40, 9, "possible"),  # met nine times: who had the CPU otherwise nobody can tell
        (3, 3, 2, "likely"),
        (3, 4, 2, "possible"),
        (5, 3, 1, "possible"),
        (6, 3, 1, "likely"),
    ],
)
def test_looks_at_nobody_do_not_tell_that_they_were_many(tasks: int, between: int, times: int, sure: str) -> None:
    looks = tasks + between
    many = [held(replace(MONITOR, pid=100 + n, tid=100 + n), 1) for n in range(tasks)]
    told = found(*again(stall(*many, samples=looks, wait=looks / HERTZ), times=times))
    severity = "info" if sure == "possible" else "warning"
    assert [(f.shape, f.confidence, f.severity) for f in told] == [("many-holders", sure, severity)]
    assert [(e.value, e.limit) for e in told[0].evidence if e.statement == BETWEEN] == [
        (between * times, looks * times)
    ]


def test_where_every_look_met_somebody_nothing_is_said_of_softirqs() -> None:
    (finding,) = found(stall(*(held(replace(MONITOR, pid=100 + n, tid=100 + n), 2) for n in range(15))))
    assert (finding.confidence, BETWEEN in [e.statement for e in finding.evidence]) == ("likely", False)


@pytest.mark.parametrize(("spins", "sure"), [(5, "possible"), (6, "likely")])
def test_looks_at_nobody_do_not_tell_that_somebody_waited_for_a_lock(spins: int, sure: str) -> None:
    one = stall(held(MONITOR, spins, functions=SPINS), samples=spins + 3, wait=(spins + 3) / HERTZ)
    (finding,) = found(one)
    assert (finding.shape, finding.confidence) == ("many-holders", sure)
    assert [(e.value, e.limit) for e in finding.evidence if e.statement == BETWEEN] == [(3, spins + 3)]


def test_who_is_named_for_most_looks_needs_most_of_those_at_nobody_too() -> None:
    part = stall(held(MONITOR, 25), samples=37, wait=37 / HERTZ)
    assert said(part) == [("syscall-hog", "likely", "critical")]
    assert said(replace(part, samples=25)) == [("syscall-hog", "proven", "critical")]


def test_who_had_interrupts_off_until_softirqs_begin_is_not_told() -> None:
    """It may have been the task: an interrupt that goes before the clock's brings the softirqs first."""
    assert found(*[gap(functions=INTERRUPTS)] * 9, virtual=False) == []
    assert found(*[gap(functions=INTERRUPTS[1:])] * 9, virtual=False) != []


@pytest.mark.parametrize(
    ("pause", "untold"),
    [
        (gap(functions=INTERRUPTS), True),
        (gap(functions=INTERRUPTS[1:], mode="user"), False),
        (stall(wait=0.05, samples=1, expected_samples=12), True),
        (stall(held(MONITOR, 1, mode="user"), wait=0.05, expected_samples=12), False),
        (stall(wait=0.05, samples=1, expected_samples=12, kind="thread"), False),  # it may have waited elsewhere
    ],
    ids=["a gap until softirqs", "in user mode", "a look at nobody", "a look at a task", "of a thread"],
)
def test_a_pause_that_may_have_been_a_task_is_said_apart_in_the_clearing(pause: Stall, untold: bool) -> None:
    text = cleared(watched(*again(pause, times=3), virtual=False)).sensitivity
    assert (f"; 3 times {BEGIN}" in text, "3 times a CPU stood still" in text) == (untold, not untold)


def test_what_the_hypervisor_took_is_a_pause_wherever_it_ends() -> None:
    text = cleared(watched(gap(functions=INTERRUPTS), cpus=stolen(0.3, 0.0018))).sensitivity
    assert "once a CPU stood still" in text
    assert BEGIN not in text


def test_pauses_of_both_kinds_are_each_counted() -> None:
    text = cleared(watched(gap(functions=INTERRUPTS), *[gap(mode="user", functions=None)] * 2)).sensitivity
    assert f"; 2 times a CPU stood still (a pause of the machine, or asleep); once {BEGIN}" in text
