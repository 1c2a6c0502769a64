from contextlib import suppress

import pytest
from hypothesis import given

from kernel.damage import COUNT, MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.tcp_mem import (
    TcpMemLimits,
    parse_number,
    parse_tcp_mem,
    read_tcp_max_orphans,
    read_tcp_max_tw_buckets,
    read_tcp_mem,
)
from whodunnet.kernel.roots import Roots


def test_limits_of_the_2018_incident_are_read() -> None:
    limits = read_tcp_mem(Roots.below(MACHINES / "incident-2018"))
    assert limits == TcpMemLimits(low_pages=43257, pressure_pages=57676, max_pages=86514)


def test_limits_of_a_real_kernel_are_read() -> None:
    roots = Roots.below(MACHINES / "linux-6.18")
    assert read_tcp_mem(roots) == TcpMemLimits(low_pages=287901, pressure_pages=383869, max_pages=575802)
    assert (read_tcp_max_orphans(roots), read_tcp_max_tw_buckets(roots)) == (131072, 131072)


def test_global_limits_do_not_exist_in_a_child_namespace() -> None:
    roots = Roots.below(MACHINES / "child-netns")
    for read in (read_tcp_mem, read_tcp_max_orphans):
        with pytest.raises(UnreadableError) as caught:
            read(roots)
        assert caught.value.code == "missing-file"
    assert read_tcp_max_tw_buckets(roots) == 131072


@given(COUNT, COUNT, COUNT)
def test_three_numbers_are_read_back(low: int, pressure: int, most: int) -> None:
    limits = parse_tcp_mem(f"{low}\t{pressure}\t{most}\n".encode(), "f")
    assert limits == TcpMemLimits(low_pages=low, pressure_pages=pressure, max_pages=most)


@given(COUNT)
def test_one_number_is_read_back(number: int) -> None:
    assert parse_number(f"{number}\n".encode(), "f") == number


@given(damaged(b"287901\t383869\t575802\n"))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for parse in (parse_tcp_mem, parse_number):
        with suppress(MalformedError):
            parse(data, "f")


def test_two_numbers_are_malformed() -> None:
    with pytest.raises(MalformedError, match="f: 2 numbers instead of low, pressure and max"):
        parse_tcp_mem(b"1 2", "f")
