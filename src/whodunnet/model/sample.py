"""What every reading has: a moment, or the reason why there is none."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

FailureCode = Literal[
    "missing-capability",  # it could be read with one more right
    "missing-file",  # the kernel or the machine does not offer it
    "unsupported",  # this kernel lacks a feature that the collector needs
    "unreadable",  # it exists, but reading failed
    "malformed",  # it was read, but not understood
    "not-collected",  # nobody asked for it, or it was switched off
    "vanished",  # it went away while being read
]


class Moment(msgspec.Struct, frozen=True):
    """One instant on both clocks: wall time (UTC) and seconds since boot (CLOCK_BOOTTIME)."""

    wall: datetime
    boot_seconds: float


class Failure(msgspec.Struct, frozen=True, tag="failure", kw_only=True):
    """A collector that has no value: never to be read as "healthy"."""

    code: FailureCode
    reason: str
    missing_capability: str | None = None


class CollectorCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one collector cost over the whole window, and what it lost."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    lost: int = 0
    attributed_share: float | None = None
    truncated: bool = False
