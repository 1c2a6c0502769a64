"""The decoders of rtnetlink answers, on bytes laid out by hand and on broken ones, and our own namespace."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.route import InterfaceAddress, Link, RouteSocket, decode_address, decode_link
from whodunnet.kernel.netlink.socket import Message

from ..damage import damaged

NAME, LINKINFO, INFO_KIND, MTU = 3, 18, 1, 4
ADDRESS, LOCAL, LABEL = 1, 2, 3
UP = 1


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(*attributes: bytes, number: int = 7, flags: int = UP) -> bytes:
    return struct.pack("=BxHiII", 0, 1, number, flags, 0) + b"".join(attributes)


def address(family: int, *attributes: bytes, number: int = 7, prefix_length: int = 24) -> bytes:
    return struct.pack("=BBBBI", family, prefix_length, 0, 0, number) + b"".join(attributes)


VETH = link(attribute(MTU, bytes(4)), attribute(NAME, b"eth0\0"), attribute(LINKINFO, attribute(INFO_KIND, b"veth\0")))
FOUR = address(
    socket.AF_INET, attribute(ADDRESS, b"\x0a\1\0\1"), attribute(LOCAL, b"\x0a\1\0\2"), attribute(LABEL, b"e")
)


def test_a_device_has_number_name_kind_and_whether_it_is_up() -> None:
    assert decode_link(VETH) == Link(7, "eth0", "veth", up=True)
    assert decode_link(link(attribute(NAME, b"lo\0"), flags=0)) == Link(7, "lo", None, up=False)


def test_the_flag_of_nesting_is_no_part_of_the_kind() -> None:
    nested = attribute(LINKINFO | 0x8000, attribute(INFO_KIND, b"dummy\0"))
    assert decode_link(link(attribute(NAME, b"d\0"), nested)).kind == "dummy"


def test_a_name_that_would_move_the_cursor_is_cleaned() -> None:
    found = decode_link(link(attribute(NAME, b"\x1b[2J\xff\0evil")))
    assert found.name == "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"


def test_an_address_is_the_local_end_and_of_ipv6_the_only_one() -> None:
    assert decode_address(FOUR) == InterfaceAddress(7, b"\x0a\1\0\2", 24)
    six = socket.inet_pton(socket.AF_INET6, "fd00::2")
    assert decode_address(address(socket.AF_INET6, attribute(ADDRESS, six), prefix_length=64)) == (7, six, 64)


def test_an_address_of_another_family_is_none_of_ours() -> None:
    assert decode_address(address(35, attribute(LOCAL, b"\x10"))) is None  # AF_PHONET


@pytest.mark.parametrize(
    "message",
    [b"", FOUR[:7], FOUR[:-5], address(socket.AF_INET), address(socket.AF_INET, attribute(LOCAL, bytes(16))),
     address(socket.AF_INET6, attribute(ADDRESS, bytes(4))), address(socket.AF_INET, b"\3\0\2\0"), FOUR + b"\1\0"],
)  # fmt: skip
def test_an_address_whose_lengths_do_not_fit_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedError, match="rtnetlink: "):
        decode_address(message)


@pytest.mark.parametrize(
    "message", [b"", VETH[:15], VETH[:-3], link(b"\0\0\3\0"), link(attribute(LINKINFO, b"\x09\0\1\0veth"))]
)
def test_a_device_whose_lengths_do_not_fit_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedError, match="rtnetlink: "):
        decode_link(message)


@given(damaged(VETH), damaged(FOUR))
def test_any_bytes_are_decoded_or_malformed(one: bytes, other: bytes) -> None:
    try:
        found = decode_link(one)
        assert found.name.isprintable()
        assert found.kind is None or found.kind.isprintable()
    except MalformedError:
        pass
    try:
        read = decode_address(other)
        assert read is None or len(read.packed) in (4, 16)
    except MalformedError:
        pass


@given(st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name), st.integers(1, 2**31 - 1))
def test_whatever_a_device_is_called_it_keeps_number_and_kind(name: bytes, number: int) -> None:
    found = decode_link(link(attribute(NAME, name), VETH[-16:], number=number))
    assert (found.number, found.kind) == (number, "veth")


def test_our_own_namespace_has_the_loopback_address_on_lo() -> None:
    """No rights needed."""
    with RouteSocket() as netlink:
        addresses, links = netlink.addresses(1000), netlink.links(1000)
    number = socket.if_nametoindex("lo")
    assert links[number].name == "lo"
    if links[number].up:
        assert InterfaceAddress(number, b"\x7f\0\0\1", 8) in addresses
    assert {a.device for a in addresses} <= set(links)


def test_a_table_is_read_no_further_than_asked() -> None:
    with RouteSocket() as netlink:
        assert len(netlink.links(1)) == 1
    with RouteSocket() as netlink:
        assert len(netlink.addresses(0)) <= 1


def test_addresses_that_changed_meanwhile_are_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel marks such a dump (NLM_F_DUMP_INTR)."""
    dumps: list[int] = []
    other = address(socket.AF_INET, attribute(LOCAL, b"\x0a\1\0\3"))

    def answers(_netlink: RouteSocket) -> list[Message]:
        bodies, flags = ((FOUR,), 0x10) if len(dumps) == 1 else ((FOUR, FOUR, other), 0)
        done = Message(3, 0, 1, memoryview(bytes(4)))
        return [*(Message(20, flags, 1, memoryview(body)) for body in bodies), done]

    monkeypatch.setattr(RouteSocket, "_request", lambda _self, kind, _body: dumps.append(kind))
    monkeypatch.setattr(RouteSocket, "_answers", answers)
    with RouteSocket() as netlink:
        found = netlink.addresses(10)
    assert [a.packed[-1] for a in found] == [2, 3]
    assert dumps == [22, 22]
