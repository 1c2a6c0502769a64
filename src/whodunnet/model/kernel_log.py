"""The sample of the kernel_log collector: only lines that a rule knows."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Seconds


class LogLine(msgspec.Struct, frozen=True):
    """kind: which known message it is; boot_seconds: when the kernel wrote it (None: the source does not say)."""

    kind: str
    boot_seconds: Seconds | None
    text: str


class RepeatedLine(msgspec.Struct, frozen=True):
    """Lines that differ in numbers only. text: one of them."""

    text: str
    lines: Count


class KernelLog(msgspec.Struct, frozen=True, tag="kernel_log", kw_only=True):
    """source: "/dev/kmsg", "journal" or a file's path. reaches_back_seconds: age of the oldest line of the source.

    counts: number of lines seen by kind, also of those not kept in `lines` (the newest 64 are kept).
    lost: lines the kernel overwrote while they were read.
    written: lines of any kind written since the first reading, as far as they were read. repeated: of those the kinds
        with most, as far as they were looked at.
    """

    source: str
    reaches_back_seconds: Seconds | None
    lines: tuple[LogLine, ...] = ()
    counts: dict[str, Count] = {}
    lost: Count = 0
    written: Count = 0
    repeated: tuple[RepeatedLine, ...] = ()
