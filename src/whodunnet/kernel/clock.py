"""The kernel's clock: adjtimex(2) without changing anything, the wall clock against boot time, the hardware's clock."""

from __future__ import annotations

import os
import struct
import time
from typing import Final, NamedTuple

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import integer, read_bytes, unreadable
from whodunnet.kernel.roots import Roots

_TIMEX: Final = struct.Struct("@I4li3l")  # struct timex (uapi linux/timex.h): modes, offset, freq, maxerror, ...
_TIMEX_BYTES: Final = 512  # it is 208 on 64 bits
_UNSYNC, _NANO = 0x0040, 0x2000  # STA_UNSYNC; STA_NANO: the offset is in nanoseconds
_TIMES: Final = 5


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What adjtimex tells; fields as in model.clock.Clock."""

    synchronised: bool
    offset_us: int
    max_error_us: int
    frequency_ppm: float


class Against(NamedTuple):
    """Wall clock less boot time, and how long both readings took, in seconds."""

    seconds: float
    within: float


def read_kept() -> Kept:
    """Raises UnreadableError where the system call is not allowed (seccomp of a container)."""
    import ctypes  # 5 ms

    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: nothing is set
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        error = ctypes.get_errno()
        raise unreadable("the state of the clock (adjtimex)", OSError(error, os.strerror(error)))
    return decode_timex(buffer.raw)


def decode_timex(data: bytes) -> Kept:
    """Of a struct timex."""
    _, offset, frequency, max_error, _, status, *_ = _TIMEX.unpack_from(data)
    return Kept(
        synchronised=not status & _UNSYNC,
        offset_us=offset // 1000 if status & _NANO else offset,
        max_error_us=max_error,
        frequency_ppm=round(frequency / 65536, 3),
    )


def read_against_boot() -> Against:
    """The narrowest of several tries: we may be kept from the CPU between the two clocks."""
    best = Against(0.0, float("inf"))
    for _ in range(_TIMES):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if (after - before) / 1e9 < best.within:
            best = Against((wall - (before + after) // 2) / 1e9, (after - before) / 1e9)
    return best


def read_hardware_ahead(roots: Roots) -> float:
    """Raises UnreadableError: missing-file where the machine has no such clock, as many virtual ones."""
    path = roots.sys / "class/rtc/rtc0/since_epoch"
    seconds = integer(read_bytes(path).strip(), str(path), "the time")
    if seconds <= 0:
        raise UnreadableError(f"{path} is {seconds}")
    return float(round(seconds - time.clock_gettime(time.CLOCK_REALTIME)))
