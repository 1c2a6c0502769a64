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
    good = [EACH - n for n in bad]
    sums = zip(accumulate(bad), accumulate(good), strict=True)
    return moments_of([], *([refused(n), opened(m)] for n, m in sums), seconds=float(len(shares)))


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
