"""Whether the wall clock is kept right, and where it stands against the time since boot."""

from __future__ import annotations

import time
from functools import partial
from typing import ClassVar, Final

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.kernel.clock import read_against_boot, read_hardware_ahead, read_kept
from whodunnet.kernel.roots import Roots
from whodunnet.model.clock import Clock

HARDWARE_EVERY_SECONDS: Final = 60.0


class ClockCollector:
    """Asks the kernel; the hardware's clock, which is slow to read, every HARDWARE_EVERY_SECONDS."""

    name: ClassVar[str] = "clock"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._hardware: tuple[float, float | None] | None = None

    def collect(self) -> Clock:
        """One reading."""
        now = time.monotonic()
        fresh = self._hardware is None or now - self._hardware[0] >= HARDWARE_EVERY_SECONDS
        if fresh:
            self._hardware = now, unless_unreadable(partial(read_hardware_ahead, self._roots))
        against, kept = read_against_boot(), unless_unreadable(read_kept)
        return Clock(
            wall_minus_boot=against.seconds,
            read_within=against.within,
            synchronised=kept.synchronised if kept else None,
            offset_us=kept.offset_us if kept else None,
            max_error_us=kept.max_error_us if kept else None,
            frequency_ppm=kept.frequency_ppm if kept else None,
            hardware_ahead=self._hardware[1] if fresh and self._hardware else None,
        )

    def close(self) -> None:
        """Nothing stays open between calls."""
