"""Time along a recording: it never runs backwards, whatever the wall clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from whodunnet.model.sample import Moment
from whodunnet.report.quantity import utc

STEP_SECONDS = 1.0
"""CLOCK_BOOTTIME is slewed as the wall clock is, so only a step moves one against the other."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds()
_LATEST = (datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds()
_LONGEST_STEP_SECONDS = 366 * 86400.0


class Clock:
    """Seconds since the first snapshot: by the clock since boot, and over a reboot by the wall clock."""

    def __init__(self) -> None:
        self.steps = 0
        self.largest_step = 0.0
        self.largest_step_seconds = 0.0
        self._boot_id: str | None = None
        self._last: Moment | None = None
        self._seconds = 0.0
        self._offsets: list[float] = []

    def tick(self, boot_id: str, at: Moment) -> tuple[int, float]:
        """Which boot this is, from 0, and the seconds since the first snapshot."""
        if self._last is not None:
            self._seconds += min(max(self._passed(boot_id, self._last, at), 0.0), _LONGEST_STEP_SECONDS)
        offset = utc(at.wall).timestamp() - self._seconds
        if boot_id != self._boot_id:
            self._offsets.append(offset)
        self._boot_id, self._last, self._offsets[-1] = boot_id, at, offset
        return len(self._offsets) - 1, self._seconds

    def _passed(self, boot_id: str, last: Moment, at: Moment) -> float:
        by_wall = (utc(at.wall) - utc(last.wall)).total_seconds()
        if boot_id != self._boot_id:
            return by_wall
        by_boot = at.boot_seconds - last.boot_seconds
        step = by_wall - by_boot
        if abs(step) >= STEP_SECONDS:
            self.steps += 1
            if abs(step) > abs(self.largest_step):
                self.largest_step, self.largest_step_seconds = step, self._seconds + max(by_boot, 0.0)
        return by_boot

    def offsets(self, spans: list[tuple[float, float]]) -> list[float]:
        """For each boot what makes its seconds unix time, by the wall clock as it stood at the end of that boot.

        spans: first and last second of each boot. A boot never begins before the previous one has ended.
        """
        found: list[float] = []
        end = float("-inf")
        for (first, last), offset in zip(spans, self._offsets, strict=True):
            offset = max(offset, end - first)
            end = last + offset
            found.append(offset)
        return found


def moment(unix_seconds: float) -> datetime:
    """In UTC; a damaged clock gives the nearest time that there is."""
    return _EPOCH + timedelta(seconds=min(max(unix_seconds, _EARLIEST), _LATEST))
