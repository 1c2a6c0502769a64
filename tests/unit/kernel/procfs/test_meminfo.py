from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.meminfo import Meminfo, parse_meminfo, read_meminfo
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "linux-6.18/proc/meminfo").read_bytes()
KIB = st.integers(0, 2**54)


def test_memory_of_a_real_machine_is_read_in_bytes() -> None:
    assert read_meminfo(Roots.below(MACHINES / "linux-6.18")).total_bytes == 25_276_514_304


@given(KIB, KIB)
def test_lines_are_found_by_name(total: int, available: int) -> None:
    data = f"HugePages_Total:   0\nMemAvailable: {available} kB\nMemTotal:   {total} kB\n".encode()
    assert parse_meminfo(data, "f") == Meminfo(total_bytes=total * 1024, available_bytes=available * 1024)


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_meminfo(data, "f")


def test_another_unit_is_malformed() -> None:
    with pytest.raises(MalformedError, match="f: MemTotal should be a number of kB and is '5 MB'"):
        parse_meminfo(b"MemTotal: 5 MB\n", "f")
