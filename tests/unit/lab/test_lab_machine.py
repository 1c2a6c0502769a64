"""What is kept of a virtual machine that ended by itself."""

from __future__ import annotations

import pytest

from lab.machine import TAIL_CHARACTERS, tail

BOOTED = "[    0.1] Linux version 6.12\n" + "[    9.9] all is well\n" * 200
AFTER = "[   82.2] Call Trace:\n" * 200


@pytest.mark.parametrize(
    "report", ["[   82.1] Oops: int3: 0000 [#1] PREEMPT SMP", "[   82.1] BUG: kernel NULL pointer dereference"]
)
def test_of_a_kernel_that_died_the_begin_of_its_report_is_kept(report: str) -> None:
    kept = tail(f"{BOOTED}{report}\n{AFTER}")
    assert kept.startswith(report)
    assert len(kept) == TAIL_CHARACTERS


def test_of_others_the_end_is_kept() -> None:
    assert tail(BOOTED) == BOOTED[-TAIL_CHARACTERS:]
