"""The decoder of neighbours, on bytes laid out by hand and on broken ones, and our own namespace."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.neighbours import (
    STATES,
    Neighbour,
    NeighbourSocket,
    decode_address,
    decode_neighbour,
)


def message(device: int, state: int, flags: int = 0) -> bytes:
    return struct.pack("=BxxxiHBB", socket.AF_INET, device, state, flags, 1) + b"\x08\0\1\0\x0a\1\0\1"


@pytest.mark.parametrize(
    ("state", "flags", "expected"),
    [
        (0x01, 0, Neighbour(4, "incomplete", exempt=False)), (0x20, 0, Neighbour(4, "failed", exempt=False)),
        (0x04, 0, Neighbour(4, "stale", exempt=False)), (0x80, 0, Neighbour(4, "permanent", exempt=True)),
        (0x02, 0x10, Neighbour(4, "reachable", exempt=True)), (0x40, 0, Neighbour(4, "noarp", exempt=False)),
        (0x81, 0, Neighbour(4, "other", exempt=True)),
    ],
)  # fmt: skip
def test_an_entry_has_device_and_state_and_whether_it_counts(state: int, flags: int, expected: Neighbour) -> None:
    assert decode_neighbour(message(4, state, flags)) == expected


def test_a_short_message_is_malformed() -> None:
    with pytest.raises(MalformedError, match="11 bytes"):
        decode_neighbour(message(4, 2)[:11])


def test_the_address_is_the_one_it_is_about() -> None:
    assert decode_address(message(4, 1)) == b"\x0a\1\0\1"
    with pytest.raises(MalformedError, match="0 bytes"):
        decode_address(message(4, 1)[:12])


@given(st.binary(max_size=40))
def test_any_bytes_are_an_entry_or_malformed(data: bytes) -> None:
    try:
        found = decode_neighbour(data)
    except MalformedError:
        return
    assert found.state in (*STATES.values(), "other")


def test_our_own_namespace_has_at_least_those_of_proc() -> None:
    """/proc/net/arp leaves out those that need not be asked for."""
    with NeighbourSocket() as netlink:
        found = netlink.count(socket.AF_INET, 10_000)
    shown = [entry for entry in found.entries.elements() if entry.state != "noarp"]
    assert not found.cut
    assert abs(len(shown) - len(Path("/proc/self/net/arp").read_text().splitlines()) + 1) <= 2


def test_no_more_than_asked_for_are_read() -> None:
    with NeighbourSocket() as netlink:
        assert not netlink.count(socket.AF_INET, 0).entries
