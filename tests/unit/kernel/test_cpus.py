"""Sets of CPUs: lists and masks of the kernel."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.cpus import CPUS_MAX, parse_list, parse_mask, read_online, read_possible
from whodunnet.kernel.roots import Roots

CPUS = st.sets(st.integers(0, CPUS_MAX - 1), max_size=40)


def mask_of(cpus: set[int]) -> bytes:
    """As "%*pb" writes it: groups of 32 bits, the highest first."""
    bits = sum(1 << cpu for cpu in cpus)
    groups = [bits >> 32 * i & 0xFFFFFFFF for i in range(max(cpus, default=0) // 32 + 1)]
    return ",".join(f"{group:08x}" for group in reversed(groups)).encode() + b"\n"


def test_cpus_of_a_real_machine_are_read() -> None:
    assert read_online(Roots.below(MACHINES / "softnet-6.18")) == (0, 1)


def test_a_machine_has_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "sys/devices/system/cpu/possible"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0,2-3\n")
    assert read_possible(Roots.below(tmp_path)) == (0, 2, 3)
    path.write_bytes(b"\n")
    with pytest.raises(MalformedError, match="possible: should name a CPU and is empty"):
        read_possible(Roots.below(tmp_path))


@pytest.mark.parametrize(("text", "cpus"), [(b"0-3,8\n", (0, 1, 2, 3, 8)), (b"\n", ()), (b"7", (7,)), (b"5-5", (5,))])
def test_a_list_has_numbers_and_ranges(text: bytes, cpus: tuple[int, ...]) -> None:
    assert parse_list(text, "f") == cpus


@given(CPUS)
def test_a_list_is_read_back(cpus: set[int]) -> None:
    assert parse_list(",".join(map(str, cpus)).encode(), "f") == tuple(sorted(cpus))


@given(CPUS)
def test_a_mask_is_read_back(cpus: set[int]) -> None:
    assert parse_mask(mask_of(cpus), "f") == tuple(sorted(cpus))


@pytest.mark.parametrize("text", [b"3-1", b"0-99999", b"a", b"1,,2", b"-1", b"0-3:1/2"])
def test_what_is_no_list_is_named(text: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_list(text, "f")


@pytest.mark.parametrize("text", [b"", b"xyz", b"0x1", b"1,1", b"f" * 9])
def test_what_is_no_mask_is_named(text: bytes) -> None:
    with pytest.raises(MalformedError, match="f: should be a mask"):
        parse_mask(text, "f")


@given(damaged(b"0-3,8-127\n") | damaged(b"ff,00000000\n"))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for parse in (parse_list, parse_mask):
        with suppress(MalformedError):
            parse(data, "f")
