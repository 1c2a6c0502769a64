"""Time lost to interrupts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.pressure import (
    Pressure,
    parse_irq_pressure,
    parse_some_pressure,
    read_cpu_pressure,
    read_irq_pressure,
)
from whodunnet.kernel.roots import Roots

FORM = b"full avg10=0.05 avg60=0.00 avg300=0.12 total=%d\n"  # psi_show, kernel/sched/psi.c of 6.1


@given(st.integers(0, 2**63 - 1))
def test_the_total_is_read(total: int) -> None:
    assert parse_irq_pressure(FORM % total, "f") == total


@given(damaged(FORM % 12345))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_irq_pressure(data, "f")


def test_a_line_some_is_not_the_total() -> None:
    with pytest.raises(MalformedError, match="f: should have a line full"):
        parse_irq_pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", "f")


def test_a_kernel_without_it_is_told_from_no_pressure(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_irq_pressure(Roots.below(tmp_path))


SOME = b"some avg10=%s avg60=1.00 avg300=0.12 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"


@given(st.integers(0, 2**63 - 1))
def test_the_wait_for_a_cpu_is_read(total: int) -> None:
    assert parse_some_pressure(SOME % (b"47.45", total), "f") == Pressure(47.45, total)


@given(damaged(SOME % (b"0.00", 7)))
def test_damaged_pressure_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_some_pressure(data, "f")


def test_a_kernel_before_4_20_has_no_pressure(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_cpu_pressure(Roots.below(tmp_path))
