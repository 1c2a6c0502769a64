"""What every reading has: a moment, or the reason why there is none."""

from __future__ import annotations

import msgspec

from whodunnet.errors import FailureCode
from whodunnet.model.bounds import Count, Instant, Seconds


class Moment(msgspec.Struct, frozen=True):
    """One instant on both clocks: wall time (UTC) and seconds since boot (CLOCK_BOOTTIME)."""

    wall: Instant
    boot_seconds: float


class Failure(msgspec.Struct, frozen=True, tag="failure", kw_only=True):
    """A collector that has no value: never to be read as "healthy"."""

    code: FailureCode
    reason: str
    missing_capability: str | None = None


class CollectorCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one collector cost over the whole window, and what it lost."""

    wall_seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    lost: Count = 0
    attributed_share: float | None = None
    truncated: bool = False
