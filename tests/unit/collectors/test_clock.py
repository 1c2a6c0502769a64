"""The clock's sample, with and without what a machine may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import clock
from whodunnet.collectors.clock import HARDWARE_EVERY_SECONDS, ClockCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.clock import Kept
from whodunnet.kernel.roots import Roots

KEPT = Kept(synchronised=True, offset_us=-3, max_error_us=900, frequency_ppm=1.5)


def test_everything_is_in_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "read_kept", lambda: KEPT)
    monkeypatch.setattr(clock, "read_hardware_ahead", lambda _roots: 7.0)
    found = ClockCollector(Roots()).collect()
    assert (found.synchronised, found.offset_us, found.max_error_us, found.frequency_ppm) == (True, -3, 900, 1.5)
    assert found.hardware_ahead == 7.0
    assert found.wall_minus_boot > 1e9


def test_where_the_call_is_forbidden_steps_are_still_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> Kept:
        raise UnreadableError("adjtimex: not permitted")

    monkeypatch.setattr(clock, "read_kept", refuse)
    found = ClockCollector(Roots.below(tmp_path)).collect()
    assert (found.synchronised, found.hardware_ahead) == (None, None)
    assert found.wall_minus_boot > 1e9


def test_the_hardware_is_not_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    now = [100.0]

    def read(_roots: Roots) -> float:
        asked.append(now[0])
        return 1.0

    monkeypatch.setattr(clock, "read_hardware_ahead", read)
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    collector = ClockCollector(Roots())
    every = []
    for now[0] in (100.0, 101.0, 99.0 + HARDWARE_EVERY_SECONDS, 100.0 + HARDWARE_EVERY_SECONDS):
        every.append(collector.collect().hardware_ahead)
    assert every == [1.0, None, None, 1.0]
    assert asked == [100.0, 100.0 + HARDWARE_EVERY_SECONDS]
