"""Settings below /proc/sys/net: numbers, ports, devices, and what is missing or makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.net_settings import (
    parse_numbers,
    parse_ports,
    read_device_names,
    read_numbers,
    read_of_devices,
    read_reserved_ports,
)
from whodunnet.kernel.roots import Roots


@pytest.mark.parametrize(
    ("data", "numbers"),
    [(b"4096\n", (4096,)), (b"32768\t60999\n", (32768, 60999)), (b"4096\t131072\t6291456\n", (4096, 131072, 6291456)),
     (b"-1\n", (-1,)), (b"99999999999999999999\n", (2**63 - 1,))],
)  # fmt: skip
def test_one_number_or_a_few(data: bytes, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(data, "x") == numbers


@pytest.mark.parametrize("data", [b"", b"\n", b"cubic\n", b"1_0\n", b"+1\n", b"1 2 3 4 5 6 7 8 9\n", b"0x10\n"])
def test_what_is_no_number_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="x: should be numbers"):
        parse_numbers(data, "x")


@pytest.mark.parametrize(
    ("data", "ports"),
    [
        (b"\n", ()),
        (b"8080\n", ((8080, 8080),)),
        (b"8080,9000-9100,65535\n", ((8080, 8080), (9000, 9100), (65535, 65535))),
    ],
)
def test_reserved_ports(data: bytes, ports: tuple[tuple[int, int], ...]) -> None:
    assert parse_ports(data, "x") == ports


@pytest.mark.parametrize("data", [b"a\n", b"1,\n", b"1-2-3\n", b"-1\n", b"1 2\n"])
def test_what_are_no_ports_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="x: should be ports"):
        parse_ports(data, "x")


@given(st.binary(max_size=60))
def test_any_bytes_are_numbers_or_an_error(data: bytes) -> None:
    for parse in (parse_numbers, parse_ports):
        try:
            parse(data, "x")
        except MalformedError as error:
            assert str(error).startswith("x: ")  # noqa: PT017 - either is right


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """With one device, whose name has a dot."""
    for name, text in (
        ("core/somaxconn", "4096\n"), ("ipv4/ip_local_reserved_ports", "9000-9001\n"),
        ("ipv4/conf/all/rp_filter", "0\n"), ("ipv4/conf/lo/rp_filter", "0\n"),
        ("ipv4/conf/eth0.100/rp_filter", "2\n"), ("ipv4/conf/default/rp_filter", "1\n"),
    ):  # fmt: skip
        path = tmp_path / "proc/sys/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_setting_by_its_name_or_nothing(machine: Path) -> None:
    roots = Roots.below(machine)
    assert read_numbers(roots, "net.core.somaxconn") == (4096,)
    assert read_numbers(roots, "net.ipv4.tcp_tw_recycle") is None
    assert read_reserved_ports(roots) == ((9000, 9001),)


def test_settings_of_devices_whatever_they_are_called(machine: Path) -> None:
    roots = Roots.below(machine)
    assert read_device_names(roots) == ["eth0.100"]
    assert read_of_devices(roots, ["eth0.100", "gone0"], "rp_filter") == {"eth0.100": 2}


def test_what_cannot_be_read_is_said(machine: Path) -> None:
    (machine / "proc/sys/net/core/somaxconn").unlink()
    (machine / "proc/sys/net/core/somaxconn").mkdir()
    with pytest.raises(UnreadableError, match="somaxconn"):
        read_numbers(Roots.below(machine), "net.core.somaxconn")
