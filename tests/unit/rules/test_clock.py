"""clock: steps, a clock that nobody keeps, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.clock import Clock
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.rules.catalogue import catalogue

from .nodes import NODE, answers, finding, moment

RULE = "clock"
ENTRY = catalogue()[RULE]
STEP, SLEW, WRONG = (ENTRY.limit(name) for name in ("min_step", "max_slew", "min_wrong"))
BASE = 1_772_366_400.0


def clock(moved: float = 0.0, **other: Any) -> Clock:
    fields: dict[str, Any] = {"synchronised": True, "max_error_us": 5_000}
    return Clock(wall_minus_boot=BASE + moved, read_within=1e-6, **{**fields, **other})


def node(*readings: Clock, apart: float = 1.0) -> Recording:
    return Recording(
        node=NODE, snapshots=tuple(Snapshot(at=moment(i * apart), samples={"clock": r}) for i, r in enumerate(readings))
    )


def cleared(found: Recording) -> Cleared:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, Cleared)
    return answer


@pytest.mark.parametrize(("moved", "way"), [(30.0, "forward"), (-30.0, "back")])
def test_a_step_is_told_with_its_way_and_names_nobody(moved: float, way: str) -> None:
    found = finding(node(clock(), clock(), clock(moved), clock(moved)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("stepped", "warning", "proven")
    assert (found.claim, found.reason) == ("is-wrong", "ClockStepped")
    assert found.title == f"The clock was set {way} by 30 s within this window"
    assert [p.role for p in found.parties] == ["victim"]
    assert found.evidence[0].value == moved


def test_a_step_between_two_readings_must_be_more_than_a_time_service_mends() -> None:
    edge = STEP + SLEW
    assert finding(node(clock(), clock(edge + 0.001)), RULE).shape == "stepped"
    assert cleared(node(clock(), clock(edge - 0.001))).evidence[0].value == pytest.approx(edge - 0.001)


def test_a_reading_that_was_held_up_between_two_clocks_is_no_step() -> None:
    slow = Clock(wall_minus_boot=BASE + 2.0, read_within=2.0, synchronised=True)
    assert cleared(node(clock(), slow, clock()))


def test_a_clock_that_runs_faster_for_long_is_not_stepped() -> None:
    assert cleared(node(clock(), clock(60 * SLEW), apart=60.0))
    assert finding(node(clock(), clock(60 * SLEW + STEP + 0.01), apart=60.0), RULE).shape == "stepped"


def test_there_and_back_are_two_steps() -> None:
    found = finding(node(clock(), clock(5), clock()), RULE)
    assert [e.value for e in found.evidence[:2]] == [5.0, -5.0]


def test_more_steps_than_are_listed() -> None:
    found = finding(node(*(clock(9.0 * (i % 2)) for i in range(9))), RULE)
    assert len([e for e in found.evidence if e.unit == "seconds"]) == ENTRY.limit("listed_steps")


def test_a_clock_that_nobody_keeps_need_not_be_wrong() -> None:
    found = finding(node(clock(synchronised=False, max_error_us=16_000_000), clock(synchronised=False)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("not-kept", "info", "possible")
    assert found.evidence[0].value == "no"


@pytest.mark.parametrize(
    ("ahead", "shape"),
    [
        (WRONG, "wrong"), (-WRONG, "wrong"), (WRONG - 1, "not-kept"), (0.0, "not-kept"),
        (3600.0, "not-kept"), (-19_800.0, "not-kept"), (3600.0 + WRONG, "wrong"), (7 * 86_400.0, "wrong"),
    ],
)  # fmt: skip
def test_a_hardware_clock_that_says_something_else_counts_unless_it_is_a_time_zone(ahead: float, shape: str) -> None:
    found = finding(node(clock(synchronised=False, hardware_ahead=ahead), clock(synchronised=False)), RULE)
    assert found.shape == shape
    assert found.severity == ("warning" if shape == "wrong" else "info")


def test_a_kept_clock_is_right_whatever_the_hardware_says() -> None:
    found = cleared(node(clock(hardware_ahead=5_000.0), clock()))
    assert [e.value for e in found.evidence] == [0.0, "yes"]
    assert "a step of 0.6 s or more within 1.0 s" in found.sensitivity


def test_readings_far_apart_show_larger_steps_only_and_say_so() -> None:
    found = cleared(node(clock(), clock(0.8), apart=5.0))
    assert "a step of 1 s or more within 5.0 s" in found.sensitivity
    assert (found.evidence[0].value, found.evidence[0].limit) == (0.8, pytest.approx(STEP + 5 * SLEW, abs=1e-5))
    assert found.evidence[0].comparison == "<"
    stepped = finding(node(clock(), clock(-1.2), apart=5.0), RULE).evidence[0]
    assert (stepped.limit, stepped.comparison) == (pytest.approx(STEP + 5 * SLEW, abs=1e-5), "<= -")


def test_one_reading_sees_no_step() -> None:
    found = cleared(node(clock()))
    assert [e.value for e in found.evidence] == ["yes"]
    assert "one reading" in found.sensitivity


def test_where_the_kernel_does_not_tell_it_is_not_checked_but_steps_are_seen() -> None:
    (answer,) = answers(node(clock(synchronised=None), clock(synchronised=None)), RULE)
    assert isinstance(answer, NotChecked)
    assert "adjtimex" in answer.reason
    assert "no step of 0.6 s or more within 1.0 s was seen" in answer.reason
    (once,) = answers(node(clock(synchronised=None)), RULE)
    assert isinstance(once, NotChecked)
    assert "one reading cannot show a step" in once.reason
    assert finding(node(clock(synchronised=None), clock(9.0, synchronised=None)), RULE).shape == "stepped"


def test_without_a_reading_it_is_not_checked() -> None:
    failed = Recording(
        node=NODE,
        snapshots=(Snapshot(at=moment(0), samples={"clock": Failure(code="unreadable", reason="none")}),),
    )
    (answer,) = answers(failed, RULE)
    assert isinstance(answer, NotChecked)
