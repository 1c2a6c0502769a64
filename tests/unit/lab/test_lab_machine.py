"""What is kept of a virtual machine that ended by itself."""

from __future__ import annotations

import pytest

from lab.machine import TAIL_CHARACTERS, emulator_failed, tail

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


REPORT = """\
[   52.909693] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r
[   52.910073] CPU: 1 UID: 0 PID: 371 Comm: checkout Not tainted 6.12.117+deb12-amd64 #1  Debian 6.12.117-1~deb12u1\r
[   52.910250] RIP: 0010:inet_sk_state_store+0x15/0x70\r
[   52.910460] Code: 00 0f 1f 44 00 00 55 89 f5 53 48 89 fb 0f b6 57 12 eb <0b> 40 88 6b 12 5b 5d c3 cc cc cc cc\r
"""
"""As one said it."""


def test_a_breakpoint_that_memory_no_longer_holds_is_the_emulators_fault() -> None:
    assert emulator_failed(f"{BOOTED}{REPORT}{AFTER}")
    assert emulator_failed(REPORT.replace("Oops: ", ""))


@pytest.mark.parametrize(
    ("said", "instead"),
    [(" eb <0b>", " cc <0b>"), ("int3: 0000", "general protection fault: 0000"), ("Code: ", "Code: Bad RIP value. ")],
)
def test_any_other_death_is_not(said: str, instead: str) -> None:
    assert said in REPORT
    assert not emulator_failed(REPORT.replace(said, instead))
