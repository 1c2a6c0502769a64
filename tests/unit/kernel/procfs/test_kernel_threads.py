"""Threads of the kernel, and processes that are called like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.kernel.procfs.kernel_threads import is_kernel_thread
from whodunnet.kernel.procfs.process_times import parse_times

KERNEL, USER = 0x00208040, 0x00400000
"""The flags of a thread of the kernel, and of a process (PF_KTHREAD, include/linux/sched.h)."""


def stat(name: str, flags: int) -> bytes:
    return f"7 ({name}) S 2 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 33 0 0\n".encode()


def test_a_name_cannot_pretend_the_flags() -> None:
    pretended = f") S 2 0 0 0 -1 {KERNEL} 0 ("
    assert not is_kernel_thread(stat(pretended, USER))
    assert is_kernel_thread(stat(pretended, KERNEL))


@pytest.mark.parametrize("flags", [KERNEL, USER])
def test_times_say_so_too(flags: int) -> None:
    assert parse_times(stat("ksoftirqd/0", flags), "f").kernel_thread == (flags == KERNEL)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert is_kernel_thread(data) in (False, True)


def test_of_this_machine_the_kernel_says_the_same_itself() -> None:
    """Kthread: in /proc/<pid>/status, from Linux 6.8 on."""
    told = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status, data = (place / "status").read_text(errors="replace"), (place / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "\nKthread:" in status:
            told[data] = "\nKthread:\t1" in status
    if not told:
        pytest.skip("this kernel does not say it: before Linux 6.8")
    assert {data: is_kernel_thread(data) for data in told} == told
