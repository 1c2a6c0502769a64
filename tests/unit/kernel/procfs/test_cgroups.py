"""The kernel's number of cgroups by controller."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.cgroups import parse_cgroups, read_cgroups
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "softnet-6.18/proc/cgroups").read_bytes()
HEADER = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n"


def test_a_real_machine_is_read() -> None:
    found = read_cgroups(Roots.below(MACHINES / "softnet-6.18"))
    assert found["cpu"] == 21
    assert found["memory"] > found["cpu"]


def test_a_controller_that_is_switched_off_has_none() -> None:
    assert parse_cgroups(HEADER + b"memory\t0\t1\t0\ncpu\t1\t9\t1\n", "f") == {"cpu": 9}


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_cgroups(data, "f")


@pytest.mark.parametrize("data", [b"", b"memory 1 2 1\n", HEADER + b"memory 1 2\n", HEADER + b"memory 1 many 1\n"])
def test_what_is_no_such_file_is_named(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_cgroups(data, "f")
