"""How fast a leak grows, when it reaches which limit, and whether its age fits. Only from a minute of watching on."""

from __future__ import annotations

import msgspec

from whodunnet.model.workload import Workload
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.leak_shapes import grows
from whodunnet.rules.tally import Candidate
from whodunnet.rules.window import Window

WATCH_SECONDS = 60.0
AGREES = 1.5
"""Two ages agree if neither is more than half as long again as the other."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Growth a second, and what follows from it; None where it cannot be told."""

    sockets_per_second: float
    bytes_per_second: float
    until_memory_seconds: float | None
    until_descriptors_seconds: float | None
    age_seconds: float | None
    owner_age_seconds: float | None

    @property
    def since_start(self) -> bool | None:
        """Whether it has leaked at this pace ever since the workload started."""
        if self.age_seconds is None or self.owner_age_seconds is None:
            return None
        longer, shorter = max(self.age_seconds, self.owner_age_seconds), min(self.age_seconds, self.owner_age_seconds)
        return longer <= AGREES * shorter


def pace_of(c: Candidate, entry: Entry, window: Window, caused_bytes: int) -> Pace | None:
    """None where the window is too short or nothing grew. caused_bytes: with the send queues of others."""
    if window.seconds < WATCH_SECONDS or not grows(c, entry):
        return None
    rate = c.growth / window.seconds
    bytes_rate = rate * caused_bytes / c.last.sockets
    return Pace(
        sockets_per_second=rate,
        bytes_per_second=bytes_rate,
        until_memory_seconds=_until_memory(bytes_rate, window),
        until_descriptors_seconds=_until_descriptors(c, rate),
        age_seconds=c.last.sockets / rate,
        owner_age_seconds=_owner_age(c.workload, window),
    )


def _until_memory(bytes_rate: float, window: Window) -> float | None:
    if window.max_bytes is None or bytes_rate <= 0 or window.exhausted:
        return None
    return max(window.max_bytes - window.total_bytes, 0) / bytes_rate


def _until_descriptors(c: Candidate, rate: float) -> float | None:
    process = c.workload.process if c.workload else None
    if process is None or process.descriptor_limit is None or len(c.last.pids) != 1 or c.shape == "accept-not-called":
        return None
    return max(process.descriptor_limit - c.last.sockets, 0) / rate


def _owner_age(workload: Workload | None, window: Window) -> float | None:
    if workload is None:
        return None
    started = workload.container.started if workload.container else None
    started = started or (workload.process.started if workload.process else None)
    return (window.at.wall - started).total_seconds() if started else None


def duration(seconds: float) -> str:
    """A length of time in the two largest units, as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
