"""When a window takes its snapshots, and what of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whodunnet.cli import watch
from whodunnet.cli.watch import BUSY_SHARE, CHEAP, GOES_ON, Watch
from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.kernel.roots import Roots
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot


class Clock:
    """CPU time is what a snapshot is said to take. Nothing takes any other time but sleep, and the first snapshots."""

    def __init__(self, cost_seconds: float, cheap_seconds: float, takes: Sequence[float] = ()) -> None:
        self.boot, self.cpu, self.cost_seconds, self.cheap_seconds = 100.0, 0.0, cost_seconds, cheap_seconds
        self.taken: list[tuple[float, bool]] = []
        self.takes = list(takes)

    def start(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, names: Collection[str] = COLLECTORS) -> Snapshot:
        self.cpu += self.cost_seconds if names is COLLECTORS else self.cheap_seconds
        self.taken.append((round(self.boot - 100.0, 3), names is COLLECTORS))
        assert names in (COLLECTORS, CHEAP)
        at = Moment(wall=datetime(2026, 1, 1, tzinfo=UTC), boot_seconds=self.boot)
        self.boot += self.takes.pop(0) if self.takes else 0.0
        return Snapshot(at=at, samples={})

    def sleep(self, seconds: float) -> None:
        self.boot += seconds


def taken(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    cost_seconds: float,
    cheap_seconds: float = 0.01,
    wanted: tuple[str, ...] = ("clock",),
    takes: Sequence[float] = (),
    goes_on: bool = False,
) -> list[tuple[float, bool]]:
    """After how many seconds of the window, and whether a whole one. takes: the time of the first snapshots."""
    clock = Clock(cost_seconds, cheap_seconds, takes)
    monkeypatch.setattr(watch, "boot_seconds", lambda: clock.boot)
    monkeypatch.setattr(watch.time, "process_time", lambda: clock.cpu)
    with Watch(wanted, roots=Roots()) as window:
        monkeypatch.setattr(window, "_taker", clock)
        window.watch(seconds, clock.sleep, goes_on=goes_on)
        assert [not s.partial for s in window._snapshots] == [whole for _, whole in clock.taken]
    return clock.taken


def test_snapshots_are_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 3.0, 0.1) == [(0, True), (1, True), (2, True), (3, True)]
    assert taken(monkeypatch, 0.0, 0.1) == [(0, True)]
    assert len(taken(monkeypatch, 3600.0, 0.1)) == watch.SNAPSHOTS_MAX


def test_on_a_large_node_they_are_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 0.2) == [(0, True), (2, True), (4, True), (6, True)]


def test_where_only_two_or_three_fit_in_what_is_cheap_is_read_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 1.0) == [(0, True), (2, False), (4, False), (6, True)]
    assert taken(monkeypatch, 8.0, 0.4) == [(0, True), (2, False), (4, True), (6, False), (8, True)]
    assert taken(monkeypatch, 3.0, 1.0) == [(0, True), (1, False), (2, False), (3, True)]


def test_a_window_of_two_seconds_is_read_in_parts_too_and_none_that_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three parts of less than that would not tell a short start from what lasts."""
    assert taken(monkeypatch, 2.0, 0.1) == [(0, True), (0.5, False), (1, True), (1.5, False), (2, True)]
    assert taken(monkeypatch, 2.0, 1.0) == [(0, True), (0.667, False), (1.333, False), (2, True)]
    assert taken(monkeypatch, 1.9, 0.1) == [(0, True), (0.95, True), (1.9, True)]


def test_what_turns_out_not_to_be_cheap_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 1.0, cheap_seconds=0.3) == [(0, True), (2, False), (6, True)]
    assert taken(monkeypatch, 8.0, 0.4, cheap_seconds=0.3) == [(0, True), (2, False), (4, True), (8, True)]


def test_nothing_is_read_in_between_where_nothing_cheap_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 1.0, wanted=("sockets",)) == [(0, True), (6, True)]


def going_on(
    monkeypatch: pytest.MonkeyPatch, seconds: float, cost_seconds: float, **how: Any
) -> list[tuple[float, bool]]:
    """Of a window in which it matters what lasts."""
    return taken(monkeypatch, seconds, cost_seconds, wanted=("connections",), goes_on=True, **how)


def test_where_even_those_do_not_fit_in_the_window_goes_on_until_there_are_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert going_on(monkeypatch, 3.0, 2.0, cheap_seconds=0.2) == [(0, True), (1, False), (3, False), (5, True)]
    assert going_on(monkeypatch, 3.0, 2.0, cheap_seconds=0.4) == [(0, True), (1, False), (5, False), (9, True)]
    assert going_on(monkeypatch, 3.0, 2.0) == [(0, True), (1, False), (2, False), (3, True)]


def test_it_does_not_go_on_for_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert going_on(monkeypatch, 3.0, 2.0, cheap_seconds=0.41) == [(0, True), (1, False), (3, True)]
    assert going_on(monkeypatch, 3.0, 2.0, takes=[100.0]) == [(0, True), (100, False), (100, True)]
    assert going_on(monkeypatch, 3.0, 0.1, takes=[10.0] * 9) == [(0, True), (10, True)]
    assert taken(monkeypatch, 8.0, 0.1, takes=[5.0] * 9) == [(0, True), (5, True), (10, True)]


def test_it_does_not_go_on_with_enough_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    read = going_on(monkeypatch, 60.0, 0.1, takes=[0.0, 6.0, 0.0, 6.0, 6.0, 6.0])
    assert read[-1] == (60, True)
    assert len(read) > 30
    assert all(b - a > 0.9 for (a, _), (b, _) in pairwise(read))


def test_only_a_window_that_may_goes_on_and_only_for_what_has_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [(0, True), (1, False), (3, True)]
    assert taken(monkeypatch, 3.0, 2.0, cheap_seconds=0.2, wanted=("connections",)) == ends
    assert taken(monkeypatch, 3.0, 2.0, cheap_seconds=0.2, wanted=("clock",), goes_on=True) == ends
    assert going_on(monkeypatch, 0.0, 2.0) == [(0, True)]
    assert going_on(monkeypatch, 2.9, 2.0, cheap_seconds=0.2) == [(0, True), (0.967, False), (2.9, True)]
    assert going_on(monkeypatch, 1.0, 2.0) == [(0, True), (1, True)]


def test_what_came_late_does_not_make_the_next_one_come_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things a snapshot takes little CPU time, but long."""
    assert going_on(monkeypatch, 3.0, 2.0, takes=[2.5]) == [(0, True), (2.5, False), (3.5, False), (4.5, True)]
    assert going_on(monkeypatch, 3.0, 0.1, takes=[2.5]) == [(0, True), (2.5, True), (3.5, True), (4.5, True)]
    assert taken(monkeypatch, 3.0, 0.1, takes=[2.5]) == [(0, True), (2.5, True), (2.5, True), (3, True)]


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.1, 120.0),
    cost=st.floats(0.001, 10.0),
    cheap=st.floats(0.001, 3.0),
    takes=st.lists(st.floats(0.0, 5.0), max_size=6),
)
def test_however_dear_a_reading_is_the_window_ends_and_cheap_ones_stay_within_their_share(
    seconds: float, cost: float, cheap: float, takes: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        read = going_on(patch, seconds, cost, cheap_seconds=cheap, takes=takes)
    assert (read[0], read[-1][1]) == ((0, True), True)
    assert all(at < GOES_ON * seconds for at, _ in read[:-2])
    assert read[-1][0] <= GOES_ON * seconds + 2 * max(takes, default=0) + 0.01
    twice = [b[0] - a[0] for a, b in pairwise(read) if not a[1] and not b[1]]
    if sum(takes) < seconds:
        assert all(cheap <= BUSY_SHARE * apart + 0.001 for apart in twice)
