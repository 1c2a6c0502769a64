"""A monitor in a pod asks the kernel for the tracked connections of an address that has none.

As with a mark, the kernel leaves out what does not fit and walks on, with softirqs off.
"""

from __future__ import annotations

from lab.faults.stall_selective_dump import StallSelectiveDump


class StallDumpByAddress(StallSelectiveDump):
    quick = False
    by = "address"
