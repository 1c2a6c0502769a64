"""The sample of the kernel_log collector: only lines that a rule knows."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Seconds


class LogLine(msgspec.Struct, frozen=True):
    """kind: which known message it is; boot_seconds: when the kernel wrote it (None: the source does not say)."""

    kind: str
    boot_seconds: Seconds | None
    text: str


class KernelLog(msgspec.Struct, frozen=True, tag="kernel_log", kw_only=True):
    """source: "/dev/kmsg", "journal" or a file's path. reaches_back_seconds: age of the oldest line of the source.

    counts: number of lines seen by kind, also of those not kept in `lines` (the newest 64 are kept).
    lost: lines the kernel overwrote while they were read.
    """

    source: str
    reaches_back_seconds: Seconds | None
    lines: tuple[LogLine, ...] = ()
    counts: dict[str, Count] = {}
    lost: Count = 0
