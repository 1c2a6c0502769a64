"""connect-refused: what stops and comes again within a window goes on, whatever its last part is like; what came once
does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest

from whodunnet.model.snapshot import Recording

from .connects import opened, refused, said
from .endings import moments_of

RULE = "connect-refused"
EACH = 40
"""Connects in a second."""
GOES_ON = [("refuses-some", "warning", "likely")]


def seconds_of(shares: Sequence[float]) -> Recording:
    """A reading after each second, of whose connects these shares were refused."""
    bad = [round(share * EACH) for share in shares]
    return read_of(bad, [EACH - n for n in bad])


def read_of(bad: Sequence[int], good: Sequence[int]) -> Recording:
    """A reading after each second, with so many refused and answered in it."""
    sums = zip(accumulate(bad), accumulate(good), strict=True)
    return moments_of([], *([refused(n), opened(m)] for n, m in sums), seconds=float(len(bad)))


@pytest.mark.parametrize(
    "shares",
    [
        (1, 1, 0, 1, 1, 0, 0.6, 0.05),
        (0.7, 1, 0.2, 0.9, 1, 0, 0.4, 0.1),
        (0.4, 0, 1, 0.6, 0.1, 1, 0.5, 0.1),
        (0.5, 0, 0, 0.5, 0, 0, 0.1, 0),
    ],
)
def test_what_comes_and_goes_goes_on_though_the_last_part_is_better(shares: Sequence[float]) -> None:
    assert said(seconds_of(shares), RULE) == GOES_ON


@pytest.mark.parametrize(
    "shares",
    [
        (1, 1, 1, 0.8, 0.2, 0.1, 0.05, 0.05),  # a start
        (0.02, 0.05, 1, 1, 1, 0.1, 0.05, 0.02),  # one restart, and now and then one more
        (0.02, 0.3, 1, 1, 0.3, 0.3, 0.1, 0.05),
        (1, 0.8, 0.6, 0.8, 0.4, 0.1, 0.1, 0.1),  # never better in between
        (1, 1, 0, 1, 1, 0, 0, 0),  # twice, and over
    ],
)
def test_what_came_once_or_is_over_does_not(shares: Sequence[float]) -> None:
    assert said(seconds_of(shares), RULE) == []


def test_one_that_is_refused_in_a_quiet_second_is_no_second_time() -> None:
    bad = [40, 40, 40, 0, 1, 0, 0, 1, 0]
    assert said(read_of(bad, [0, 0, 0, 40, 1, 40, 40, 39, 40]), RULE) == []
    assert said(read_of([40, 40, 20, 0, 30, 0, 0, 1, 0], [0, 0, 20, 40, 0, 40, 40, 39, 40]), RULE) == GOES_ON


def test_it_may_come_many_times() -> None:
    """Twenty, but in the last third, of which the first is the worst, hardly ever."""
    turns = [1, 0] * 13 + [0.9, 0] + [0] * 11 + [0.4]
    assert said(seconds_of(turns), RULE) == GOES_ON
