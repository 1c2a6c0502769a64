"""Ends of connections as programs write them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.why.sides import Side, address_of, parse, parse_bare


@pytest.mark.parametrize(
    ("words", "address", "name", "port"),
    [
        ("10.0.0.1:80", "10.0.0.1", None, 80),
        ("[2001:db8::1]:443", "2001:db8::1", None, 443),
        ("::1:8080", "::1", None, 8080),
        ("0:0:0:0:0:0:0:1:8080", "::1", None, 8080),
        ("[fe80::1%eth0]:22", "fe80::1", None, 22),
        ("::ffff:10.0.0.1:80", "10.0.0.1", None, 80),
        ("%5B::1%5D:50051", "::1", None, 50051),
        ("DB.Example.:5432", None, "db.example", 5432),
        ("10.96.0.10#53", "10.96.0.10", None, 53),
        ("db.example port 22", None, "db.example", 22),
        (":8080", None, None, 8080),
        ("0.0.0.0:8080", None, None, 8080),
        ("[::]:8080", None, None, 8080),
        ("8080", None, None, 8080),
        ("db.example", None, "db.example", None),
        ("10.0.0.1:99999", "10.0.0.1", None, None),
    ],
)
def test_an_end_is_read(words: str, address: str | None, name: str | None, port: int | None) -> None:
    assert parse(words) == Side(address=address, name=name, port=port)


@pytest.mark.parametrize("words", ["", ":", "[::]", "0.0.0.0", ":0", "-x:80x:", "99999"])
def test_what_names_nobody_is_no_end(words: str) -> None:
    assert parse(words) is None


def test_a_bare_address_of_ipv6_keeps_all_its_groups() -> None:
    assert parse_bare("2001:db8::1:80") == Side(address="2001:db8::1:80")


@pytest.mark.parametrize(
    ("side", "text"),
    [
        (Side(address="10.0.0.1", port=80), "10.0.0.1:80"),
        (Side(address="::1", port=80), "[::1]:80"),
        (Side(address="::1"), "::1"),
        (Side(name="db.example", port=80), "db.example:80"),
        (Side(port=80), "port 80"),
    ],
)
def test_an_end_is_written_as_a_person_does(side: Side, text: str) -> None:
    assert str(side) == text
    assert side.port is None or side.address is None or parse(text) == side


def test_a_loopback_has_the_same_name_everywhere_and_a_place_nowhere() -> None:
    assert Side(name="localhost", port=80).addresses == ("127.0.0.1", "::1")
    assert Side(name="localhost").is_loopback
    assert Side(address="127.0.0.53").is_loopback
    assert not Side(address="10.0.0.1").is_loopback
    assert Side(name="db.example").addresses == ()


@given(st.ip_addresses(), st.integers(1, 65535))
def test_any_address_and_port_are_read_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    known = address_of(str(address))
    written = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    anybody = ipaddress.ip_address(known or "").is_unspecified
    assert parse(written) == Side(address=None if anybody else known, port=port)


@given(st.text(max_size=80))
def test_any_words_are_an_end_or_none(words: str) -> None:
    side = parse(words)
    assert side is None or side.address or side.name or side.port
