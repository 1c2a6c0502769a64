"""Processes that were ready to run for most of the window and got no CPU, and who ran where they waited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording

MOST: Final = 0.5
"""Of the time for which its wait is known, and of the readings in which that is so."""
TIMES_RUN: Final = 3
"""Whoever waits for so many times as long as it runs would keep up if it had its CPU."""
MEETINGS_MIN: Final = 2
"""Readings in which both were to run on one CPU."""


class Rival(NamedTuple):
    """Who ran there. meetings: readings in which both were to run on this CPU, in none of which they were apart."""

    process: Consumer
    cpu: int
    meetings: int
    ran_seconds: float


class CpuWait(NamedTuple):
    """How long a process waited for a CPU and ran, of the seconds of which that is known."""

    at: Moment
    pid: int
    waited_seconds: float
    ran_seconds: float
    seconds: float
    rival: Rival | None = None


def starved(recording: Recording, pid: int) -> CpuWait | None:
    """Its wait, if that took most of the window, and much more than it ran; None: it did not, or is not known."""
    series = recording.series(CpuPressure)[1:]
    found = [(sample, c) for _, sample in series for c in sample.consumers if c.pid == pid and c.wait_ms is not None]
    if len({c.started_seconds for _, c in found}) != 1 or any(c.more for _, c in found):
        return None
    waited = sum(c.wait_ms or 0 for _, c in found)
    ran = sum(c.cpu_ms for _, c in found)
    seconds = sum(sample.measured_seconds or 0.0 for sample, _ in found)
    if len(found) < MOST * len(series) or waited < max(MOST * 1000 * seconds, TIMES_RUN * ran):
        return None
    rival = _rival([sample for _, sample in series], pid, waited / 1000)
    return CpuWait(series[-1][0], pid, waited / 1000, ran / 1000, seconds, rival)


def _rival(series: Sequence[CpuPressure], pid: int, waited: float) -> Rival | None:
    """Who was to run on the same CPU whenever both were, and used enough of it to be why the other one waited."""
    met: dict[int, list[tuple[Consumer, int]]] = {}
    apart: set[int] = set()
    for sample in series:
        place = next((c.on_cpu for c in sample.consumers if c.pid == pid), None)
        for c in sample.consumers if place is not None else ():
            if place is not None and c.on_cpu == place and c.pid != pid:
                met.setdefault(c.pid, []).append((c, place))
            elif c.on_cpu is not None:
                apart.add(c.pid)
    every = [_as_rival(series, meetings) for other, meetings in met.items() if other not in apart]
    enough = [rival for rival in every if rival.meetings >= MEETINGS_MIN and rival.ran_seconds >= MOST * waited]
    return max(enough, key=lambda rival: (rival.ran_seconds, -rival.process.pid), default=None)


def _as_rival(series: Sequence[CpuPressure], meetings: Sequence[tuple[Consumer, int]]) -> Rival:
    last, cpu = meetings[-1]
    every = (c for sample in series for c in sample.consumers if not c.more)
    ran = sum(c.cpu_ms for c in every if (c.pid, c.started_seconds) == (last.pid, last.started_seconds))
    return Rival(last, cpu, len(meetings), ran / 1000)
