"""Whether a task is a thread of the kernel; by its flags alone, as any process may take such a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_PF_KTHREAD: Final = 0x0020_0000  # include/linux/sched.h
_FLAGS: Final = 6  # of what follows the name in stat (do_task_stat, fs/proc/array.c)
_DIGITS: Final = 10


def is_kernel_thread(stat: bytes) -> bool:
    """Of a whole stat, whose name may hold any bytes. False also for what is no stat."""
    return has_kernel_flag(stat.rpartition(b")")[2].split())


def has_kernel_flag(fields: Sequence[bytes]) -> bool:
    """fields: of a stat, those after the name."""
    flags = fields[_FLAGS] if len(fields) > _FLAGS else b""
    return flags.isdigit() and len(flags) <= _DIGITS and bool(int(flags) & _PF_KTHREAD)
