"""When a window takes its snapshots, and what of."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import pytest

from whodunnet.cli import watch
from whodunnet.cli.watch import CHEAP, Watch
from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.kernel.roots import Roots
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot


class Clock:
    """Nothing takes any time but sleep, and CPU time is what a snapshot is said to take."""

    def __init__(self, cost_seconds: float, cheap_seconds: float) -> None:
        self.boot, self.cpu, self.cost_seconds, self.cheap_seconds = 100.0, 0.0, cost_seconds, cheap_seconds
        self.taken: list[tuple[float, bool]] = []

    def start(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, names: Collection[str] = COLLECTORS) -> Snapshot:
        self.cpu += self.cost_seconds if names is COLLECTORS else self.cheap_seconds
        self.taken.append((round(self.boot - 100.0, 3), names is COLLECTORS))
        assert names in (COLLECTORS, CHEAP)
        return Snapshot(at=Moment(wall=datetime(2026, 1, 1, tzinfo=UTC), boot_seconds=self.boot), samples={})

    def sleep(self, seconds: float) -> None:
        self.boot += seconds


def taken(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    cost_seconds: float,
    cheap_seconds: float = 0.01,
    wanted: tuple[str, ...] = ("clock",),
) -> list[tuple[float, bool]]:
    """After how many seconds of the window, and whether a whole one."""
    clock = Clock(cost_seconds, cheap_seconds)
    monkeypatch.setattr(watch, "boot_seconds", lambda: clock.boot)
    monkeypatch.setattr(watch.time, "process_time", lambda: clock.cpu)
    with Watch(wanted, roots=Roots()) as window:
        monkeypatch.setattr(window, "_taker", clock)
        window.watch(seconds, clock.sleep)
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
    assert taken(monkeypatch, 2.0, 1.0) == [(0, True), (2, True)]


def test_what_turns_out_not_to_be_cheap_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 1.0, cheap_seconds=0.3) == [(0, True), (2, False), (6, True)]
    assert taken(monkeypatch, 8.0, 0.4, cheap_seconds=0.3) == [(0, True), (2, False), (4, True), (8, True)]


def test_nothing_is_read_in_between_where_nothing_cheap_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, 6.0, 1.0, wanted=("sockets",)) == [(0, True), (6, True)]
