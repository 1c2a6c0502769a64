"""held-open: idle connections whose number never stops growing, and the pools that look like it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared
from whodunnet.model.snapshot import Recording

from .nodes import (
    ALONE,
    BEGIN,
    LEAK,
    answers,
    finding,
    findings,
    group,
    history,
    in_container,
    is_cleared,
    leak,
    limit,
    memory_of,
    moment,
    named,
    owners,
    pids,
    recording,
    said,
)

CHURN = LEAK.limit("churn_ratio")
WATCH = LEAK.limit("held_open_window")
OF_A_START = [0, 0, 0, 0, *range(60, 361, 33)]
RISING = [ALONE - 30, ALONE - 20, ALONE - 10, ALONE]


def test_idle_connections_that_never_stop_growing_are_a_leak() -> None:
    found = finding(leak("held-open", RISING, seconds=WATCH, age=60))
    assert (found.shape, found.claim, pids(found, "culprit")) == ("held-open", "leaks", [7])


@pytest.mark.parametrize(("seconds", "strong"), [(WATCH - 1, False), (WATCH, True)])
def test_idle_connections_must_be_watched_for_a_minute(seconds: float, strong: bool) -> None:
    node = leak("held-open", RISING, seconds=seconds, age=60, memory=memory_of(10, alloc_sockets=ALONE))
    assert said(node) == [("held-open", "proven" if strong else "possible")]


@pytest.mark.parametrize(("n", "told"), [(ALONE - 1, False), (ALONE, True)])
def test_an_idle_pool_may_have_as_many_as_pools_have(n: int, told: bool) -> None:
    node = leak("held-open", [n - 30, n - 20, n - 10, n], seconds=WATCH, age=60)
    assert bool(findings(node)) is told


@pytest.mark.parametrize(
    "counts",
    [[500, 500, 500, 500], [440, 500, 500, 500], [440, 490, 495, 504], [500, 480, 490, 505]],
    ids=["flat", "filled up", "levels off", "churns"],
)
def test_an_idle_pool_that_stops_growing_or_churns_is_no_leak(counts: list[int]) -> None:
    assert is_cleared(leak("held-open", counts, seconds=WATCH, age=60))


@pytest.mark.parametrize(("age", "told"), [(limit("idle_age") - 1, False), (limit("idle_age"), True)])
def test_growing_connections_that_are_in_use_are_no_leak(age: int, told: bool) -> None:
    assert bool(findings(leak("held-open", RISING, seconds=WATCH, age=age))) is told


@pytest.mark.parametrize(("last", "told"), [(329, False), (330, True)])
def test_a_quarter_of_the_growth_must_be_in_the_second_half(last: int, told: bool) -> None:
    """From 290 on: 320 in the middle, so that 10 of 40 are the quarter."""
    assert bool(findings(leak("held-open", [290, 300, 320, last], seconds=WATCH, age=60))) is told


@pytest.mark.parametrize(("middle", "told"), [(299, False), (300, True)])
def test_a_quarter_of_the_growth_must_be_in_the_first_half(middle: int, told: bool) -> None:
    """A client that is restarted opens all that it wants within a few seconds."""
    assert bool(findings(leak("held-open", [290, 290, middle, 330], seconds=WATCH, age=60))) is told


@pytest.mark.parametrize(("old", "told"), [(99, False), (100, True)])
def test_half_of_the_growing_connections_must_be_idle(old: int, told: bool) -> None:
    assert bool(findings(leak("held-open", RISING, seconds=WATCH, age=60, old=old))) is told


def test_what_was_not_accepted_is_told_only_of_a_window() -> None:
    for moments in (1, 2):
        found = finding(leak("accept-not-called", [90] * moments, age=60))
        assert ("accepted since" in " ".join(e.statement for e in found.evidence)) is (moments > 1)


@pytest.mark.parametrize(("loss", "told"), [(10, True), (11, False)])
def test_growth_must_be_three_times_the_churn(loss: int, told: bool) -> None:
    low = ALONE + loss
    counts = [low, low - loss, low + 10, low + 10, low + int(CHURN * 10)]
    node = leak("held-open", counts, seconds=WATCH, age=60)
    assert bool(findings(node)) is told


CROWDED = memory_of(10, alloc_sockets=360)
"""The node has hardly any other sockets."""


@pytest.mark.parametrize(
    ("counts", "confidence"),
    [
        ([*[240] * 6, 300, *[360] * 6], "possible"),  # one burst, of which a reading saw the middle
        ([*[240] * 3, *[300] * 4, *[360] * 6], "possible"),
        ([300, 300, 300, 301, 330, 340, 345, 350, 355, 360], "possible"),
        ([300, 300, 300, 310, 330, 340, 345, 350, 355, 360], "proven"),  # a sixth of it in the first third
        ([240, *range(245, 300, 5), 360], "proven"),
        ([300, 330, 360], "possible"),  # three readings have no thirds
    ],
)
def test_growth_that_is_no_burst_is_in_each_third(counts: list[int], confidence: str) -> None:
    assert said(leak("held-open", counts, seconds=WATCH, age=60, memory=CROWDED)) == [("held-open", confidence)]


@pytest.mark.parametrize(
    ("after", "confidence"), [(-2.0, "proven"), (-1.9, "possible"), (0.0, "possible"), (WATCH / 4, "possible")]
)
def test_who_began_within_the_window_may_still_open_what_it_wants(after: float, confidence: str) -> None:
    began = named(7, started=BEGIN + timedelta(seconds=after))
    node = leak("held-open", OF_A_START, seconds=WATCH, age=60, workloads=began, memory=CROWDED)
    assert said(node) == [("held-open", confidence)]


@pytest.mark.parametrize(
    ("starts", "of_old"),
    [((None,), 0), ((WATCH / 4, None), 0), ((None, None, -10.0), 30), ((None, -10.0), None), ((-10.0, -10.0, 1), None)],
)
def test_half_of_the_growth_must_be_of_processes_known_to_have_begun_before(
    starts: tuple[float | None, ...], of_old: int | None
) -> None:
    """of_old: said where it is too little."""
    began = [BEGIN + timedelta(seconds=after) if after is not None else None for after in starts]
    known = owners(*(in_container("shop", 7 + n, started=at) for n, at in enumerate(began)))
    moments = [
        [g for n in range(len(starts)) for g in history("held-open", RISING, age=60, pid=7 + n)[i]]
        for i in range(len(RISING))
    ]
    found = finding(recording(moments, seconds=WATCH, workloads=known, memory=CROWDED))
    said_of_old = [(e.value, e.limit, e.unit) for e in found.evidence if "known to have begun before" in e.statement]
    assert (found.confidence == "possible") is (of_old is not None)
    assert said_of_old == ([(of_old, 30 * len(starts), "sockets")] if of_old is not None else [])


def test_an_old_worker_that_keeps_its_few_does_not_make_new_ones_leak() -> None:
    """Started at once, by a scale-up, they open their pools."""
    young = in_container("shop", 8, started=BEGIN + timedelta(seconds=2))
    moments = [[group("held-open", 1, age=60), *g] for g in history("held-open", OF_A_START, pid=8, age=60)]
    workloads = owners(in_container("shop", 7), young)
    found = finding(recording(moments, seconds=WATCH, workloads=workloads, memory=CROWDED))
    assert (found.shape, found.confidence) == ("held-open", "possible")


def test_sockets_that_only_change_hands_are_no_growth_of_who_was_there() -> None:
    """Two old workers share 300 connections, one ends, and a new one opens its pool."""
    pool = history("held-open", OF_A_START, pid=9, age=60)
    half = len(pool) // 2
    moments = [[group("held-open", 300, age=60, pid=7 if n < half else 8), *g] for n, g in enumerate(pool)]
    known = owners(in_container("shop", 7, 8), in_container("shop", 9, started=BEGIN + timedelta(seconds=2)))
    found = finding(recording(moments, seconds=WATCH, workloads=known, memory=CROWDED))
    assert (found.shape, found.confidence) == ("held-open", "possible")


@pytest.mark.parametrize("step", [-7_200.0, 0.0, 60.0])
@pytest.mark.parametrize(("after", "confidence"), [(10.0, "possible"), (-3_600.0, "proven")])
def test_a_clock_that_is_set_meanwhile_makes_nobody_older_or_younger(
    after: float, confidence: str, step: float
) -> None:
    began = named(7, started=BEGIN + timedelta(seconds=after))
    node = leak("held-open", OF_A_START, seconds=WATCH, age=60, workloads=began, memory=CROWDED)
    half = len(node.snapshots) // 2
    later = [
        replace(s, at=replace(s.at, wall=s.at.wall + timedelta(seconds=step))) if n >= half else s
        for n, s in enumerate(node.snapshots)
    ]
    assert said(replace(node, snapshots=tuple(later))) == [("held-open", confidence)]


def test_readings_too_few_for_thirds_are_no_growth_of_nothing() -> None:
    found = finding(leak("held-open", [300, 330, 360], seconds=WATCH, age=60))
    assert [(e.statement, e.value, e.unit) for e in found.evidence if "third" in e.statement] == [
        ("Readings, which do not show each third of the window", 3, "readings")
    ]


def uneven(counts: Sequence[int], times: Sequence[float]) -> Recording:
    """Idle connections at snapshots that are not equally far apart."""
    even = leak("held-open", counts, age=60)
    return replace(even, snapshots=tuple(replace(s, at=moment(t)) for s, t in zip(even.snapshots, times, strict=True)))


@pytest.mark.parametrize(
    ("counts", "times", "told"),
    [
        ([200, 210, 220, 230, 290, 350], [0, 1, 2, 3, 30, 60], True),
        ([200, 290, 350, 380, 380, 380], [0, 30, 57, 58, 59, 60], True),
        ([200, 220, 240, 260, 270, 270], [0, 10, 20, 30, 59, 60], False),
        ([200, 200, 200, 230, 230, 260], [0, 10, 20, 58, 59, 60], False),
        ([200, 300, 400], [0, 15, 60], True),
        ([200, 300, 400], [0, 14, 60], False),
        ([200, 300, 400], [0, 45, 60], True),
        ([200, 300, 400], [0, 46, 60], False),
    ],
)
def test_a_half_is_one_of_the_time(counts: list[int], times: list[float], told: bool) -> None:
    """Without a snapshot near its middle a window has no halves."""
    assert bool(findings(uneven(counts, times))) is told


FLAT = [300] * 7
LATE = [*FLAT, 310, 320, 330, 340, 350, 360]
"""Flat for half of the window, and rising all the time from then on."""


def late(counts: Sequence[int] = LATE, **how: object) -> Recording:
    return leak("held-open", counts, **{"seconds": WATCH, "age": 60, **how})  # type: ignore[arg-type]


def test_a_leak_that_begins_in_mid_window_is_possible() -> None:
    found = finding(late(memory=memory_of(10, alloc_sockets=360)))
    assert (found.shape, found.confidence, found.severity, pids(found, "culprit")) == (
        "held-open", "possible", "info", [7],
    )  # fmt: skip
    (rise,) = (e for e in found.evidence if "second half" in e.statement)
    assert rise.value == 60


def test_so_is_one_that_goes_faster_and_faster() -> None:
    assert said(late([300, 301, 302, 303, 305, 307, 310, 320, 335, 355, 380, 410, 450])) == [("held-open", "possible")]


@pytest.mark.parametrize("seconds", [WATCH - 1, WATCH])
def test_half_a_short_window_is_too_short(seconds: float) -> None:
    assert bool(findings(late(seconds=seconds))) is (seconds == WATCH)


@pytest.mark.parametrize(
    "rise",
    [
        [360] * 6,
        [300, 360, 360, 360, 360, 360],
        [300, 330, 360, 360, 360, 360],
        [300, 300, 330, 360, 360, 360],
        [300, 300, 300, 330, 360, 360],
        [300, 300, 300, 300, 330, 360],
        [310, 320, 330, 340, 350, 300],
    ],
)
def test_what_came_at_once_in_the_second_half_is_not_said_and_that_it_came_is(rise: list[int]) -> None:
    """A client that wants more begins, or one fills its pool: each third of that half has to have its part."""
    node = late([*FLAT, *rise])
    assert is_cleared(node)
    assert ("rose by 60 only in the second half of the window: look longer" in reach(node)) is (rise[-1] == 360)


def reach(node: Recording) -> str:
    (answer,) = answers(node)
    assert isinstance(answer, Cleared)
    return answer.sensitivity


@pytest.mark.parametrize(("seconds", "told"), [(-2.0, True), (-1.9, False), (30.0, False)])
def test_a_client_that_was_started_within_the_window_opens_what_it_wants(seconds: float, told: bool) -> None:
    """It looks like a leak that begins; as much is said of the window."""
    workloads = named(7, started=BEGIN + timedelta(seconds=seconds))
    node = late([0] * 7 + [60, 120, 180, 240, 300, 360], workloads=workloads)
    assert bool(findings(node)) is told
    assert told or "rose by 360 only in the second half" in reach(node)


def test_of_several_processes_all_have_to_be_there_before_the_window() -> None:
    """A worker that was started anew opens its own pool."""
    for since, told in ((-2, True), (30, False)):
        young = in_container("api", 8, started=BEGIN + timedelta(seconds=since))
        both = owners(in_container("api", 7), young)
        rise = history("held-open", [0] * 7 + [10, 20, 30, 40, 50, 60], pid=8, age=60)
        node = recording([[group("held-open", 300, age=60), *g] for g in rise], seconds=WATCH, workloads=both)
        assert bool(findings(node)) is told


def test_nobody_knows_since_when_a_client_is_there() -> None:
    assert is_cleared(late(workloads=named(7, started=None)))


def test_beside_a_finding_it_is_said_too_what_rose_only_of_late() -> None:
    other = history("held-open", [0] * 7 + [60, 120, 180, 240, 300, 360], pid=8, age=60)
    workloads = owners(named(7).by_pid, named(8, started=BEGIN + timedelta(seconds=30)).by_pid)
    rising = [200 + 10 * n for n in range(13)]
    moments = [[group("held-open", n, age=60), *more] for n, more in zip(rising, other, strict=True)]
    found = finding(recording(moments, seconds=WATCH, workloads=workloads))
    assert pids(found, "culprit") == [7]
    assert any("rose by 360 only in the second half" in line for line in found.explanation)


def test_even_growth_has_nothing_to_add() -> None:
    (found,) = findings(leak("held-open", RISING, seconds=WATCH, age=60))
    assert "second half" not in " ".join([*found.explanation, *(e.statement for e in found.evidence)])
    assert "second half" not in reach(leak("held-open", [440, 490, 495, 504], seconds=WATCH, age=60))


def test_without_a_snapshot_near_the_middle_it_is_said_that_nothing_can_be_told() -> None:
    assert "held open do not show" in reach(uneven([200, 300, 400], [0, 14, 60]))
    assert "held open" not in reach(uneven([200, 200, 200], [0, 30, 60]))
