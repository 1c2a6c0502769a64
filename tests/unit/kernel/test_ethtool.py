"""A driver's statistics as the ioctls hand them over."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.ethtool import Ethtool, Line, parse_line, parse_name, parse_statistics


def names_of(names: list[bytes], number: int | None = None) -> bytes:
    fields = b"".join(name.ljust(32, b"\0") for name in names)
    return struct.pack("=III", 0x1B, 1, len(names) if number is None else number) + fields


def values_of(values: list[int], number: int | None = None) -> bytes:
    count = len(values) if number is None else number
    return struct.pack(f"=II{len(values)}Q", 0x1D, count, *values)


def test_names_and_values_belong_together_by_their_place() -> None:
    names = names_of([b"tx_timeout", b"conntrack_allowance_exceeded", b"x" * 32])
    found = parse_statistics(names + bytes(99), values_of([1, 2**64 - 1, 3]) + bytes(99), 3, "eth0")
    assert found == {"tx_timeout": 1, "conntrack_allowance_exceeded": 2**64 - 1, "x" * 32: 3}


@pytest.mark.parametrize(
    ("names", "values", "number"),
    [
        (names_of([b"a"]), values_of([1]), 2),
        (names_of([b"a"], 2), values_of([1, 2]), 2),
        (names_of([b"a", b"b"]), values_of([1], 2), 2),
        (names_of([b"a"]), values_of([1, 2]), 1),
        (names_of([b"\xff"]), values_of([1]), 1),
        (b"", values_of([1]), 1),
        (names_of([b"a"]), b"1234567", 1),
    ],
)
def test_what_does_not_fit_together_is_malformed(names: bytes, values: bytes, number: int) -> None:
    with pytest.raises(MalformedError, match="eth0"):
        parse_statistics(names, values, number, "eth0")


@given(st.binary(max_size=200), st.binary(max_size=80), st.integers(0, 5))
def test_any_bytes_are_statistics_or_malformed(names: bytes, values: bytes, number: int) -> None:
    try:
        found = parse_statistics(names, values, number, "eth0")
    except MalformedError:
        return
    assert len(found) <= number
    assert all(name.isascii() and 0 <= value < 2**64 for name, value in found.items())


@given(st.lists(st.tuples(st.binary(max_size=32), st.integers(0, 2**64 - 1)), max_size=5))
def test_what_is_written_is_read_back(pairs: list[tuple[bytes, int]]) -> None:
    pairs = [(name.partition(b"\0")[0], value) for name, value in pairs if name.isascii()]
    names, values = names_of([name for name, _ in pairs]), values_of([value for _, value in pairs])
    expected = {name.decode(): value for name, value in pairs}
    assert parse_statistics(names, values, len(pairs), "eth0") == expected


def test_a_name_ends_at_a_zero_or_with_its_field() -> None:
    assert (parse_name(b"ena\0junk", "eth0"), parse_name(b"ena", "eth0")) == ("ena", "ena")


def test_loopback_has_no_driver_and_no_statistics() -> None:
    with Ethtool() as ethtool:
        assert (ethtool.driver("lo"), ethtool.statistics("lo")) == (None, {})


@pytest.mark.parametrize("device", ["", "a" * 16])
def test_what_cannot_be_a_device_is_refused_before_the_kernel_sees_it(device: str) -> None:
    with Ethtool() as ethtool, pytest.raises(MalformedError):
        ethtool.driver(device)


def test_a_device_that_is_gone_is_vanished() -> None:
    assert "nosuch0" not in [name for _, name in socket.if_nameindex()]
    with Ethtool() as ethtool, pytest.raises(UnreadableError, match="gone") as raised:
        ethtool.statistics("nosuch0")
    assert raised.value.code == "vanished"


def settings(speed: int, duplex: int) -> bytes:
    return struct.pack("=IIB39x", 0x4C, speed, duplex)


@pytest.mark.parametrize(
    ("speed", "duplex", "line"),
    [
        (10_000, 1, Line(10_000, "full")), (100, 0, Line(100, "half")), (0xFFFFFFFF, 0xFF, Line(None, None)),
        (0, 1, Line(None, "full")),
    ],
)  # fmt: skip
def test_a_line_has_speed_and_duplex_or_does_not_say(speed: int, duplex: int, line: Line) -> None:
    assert parse_line(settings(speed, duplex) + bytes(99)) == line


def test_a_short_answer_about_a_line_is_malformed() -> None:
    with pytest.raises(MalformedError, match="20 bytes"):
        parse_line(settings(100, 1)[:20])


def test_loopback_has_no_line() -> None:
    with Ethtool() as ethtool:
        assert ethtool.line("lo") is None
        with pytest.raises(UnreadableError, match="is gone"):
            ethtool.line("none9")
