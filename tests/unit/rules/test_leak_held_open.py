"""held-open: idle connections whose number never stops growing, and the pools that look like it."""

from __future__ import annotations

import pytest

from .nodes import (
    ALONE,
    LEAK,
    finding,
    findings,
    is_cleared,
    leak,
    limit,
    memory_of,
    pids,
    said,
)

CHURN = LEAK.limit("churn_ratio")
WATCH = LEAK.limit("held_open_window")
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
