"""The sample of the clock collector: whether the clock is kept right, and where it is against the time since boot."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Seconds, Signed


class Clock(msgspec.Struct, frozen=True, tag="clock", kw_only=True, omit_defaults=True):
    """The wall clock of the whole machine; containers have no other.

    wall_minus_boot: wall clock less time since boot (CLOCK_BOOTTIME, which nobody sets), in seconds: it changes by
        steps and, far slower, by what a time service mends. read_within: seconds that the reading took, its error.
    synchronised: whether a time service told the kernel that it keeps the clock right (STA_UNSYNC not set); None where
        the kernel does not tell us. offset_us: what is still to be mended. max_error_us: how wrong it may be at most by
        what the service told; the kernel lets it grow while nobody does. frequency_ppm: how much faster it is made.
    hardware_ahead: the hardware's clock less ours, in whole seconds; of a virtual machine that is the host's. It may be
        in local time.
    """

    wall_minus_boot: Seconds
    read_within: Seconds
    synchronised: bool | None = None
    offset_us: Signed | None = None
    max_error_us: Signed | None = None
    frequency_ppm: float | None = None
    hardware_ahead: Seconds | None = None
