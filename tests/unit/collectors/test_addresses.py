"""The addresses collector: what it leaves out, its bounds, and namespaces that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from whodunnet.collectors import addresses
from whodunnet.collectors.addresses import AddressesCollector, read_here
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.route import InterfaceAddress, Link
from whodunnet.kernel.roots import Roots

OWN, OTHER = 4026531840, 4026532999
ETH0 = Link(2, "eth0", None, up=True)


def four(n: int) -> InterfaceAddress:
    return InterfaceAddress(2, bytes((10, 0, n >> 8, n & 255)), 24)


class Played:
    """What the kernel would answer."""

    found: ClassVar[list[InterfaceAddress]] = []

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def addresses(self, at_most: int) -> list[InterfaceAddress]:
        return self.found[: at_most + 1]

    def links(self, _at_most: int) -> dict[int, Link]:
        return {2: ETH0}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[InterfaceAddress]], None]:
    monkeypatch.setattr(addresses, "RouteSocket", Played)
    return lambda found: monkeypatch.setattr(Played, "found", found)


Play = Callable[[list[InterfaceAddress]], None]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Our namespace, and another with a process whose link leads nowhere."""
    for name, netns in (("thread-self", OWN), ("1", OWN), ("7", OTHER)):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns/net").symlink_to(f"net:[{netns}]")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text("")
    return Roots(proc=tmp_path)


def test_addresses_that_every_namespace_has_are_left_out(play: Play) -> None:
    everywhere = [
        b"\x7f\0\0\1",
        b"\x7f\1\2\3",
        bytes(15) + b"\1",
        b"\xfe\x80" + bytes(13) + b"\5",
        b"\xfe\xbf" + bytes(14),
    ]
    kept = [b"\xa9\xfe\x14\x0a", b"\x0a\0\0\1", b"\xfd" + bytes(14) + b"\1"]
    play([InterfaceAddress(2, packed, 8) for packed in everywhere + kept])
    found, left_out = read_here(100)
    assert ([a.address for a in found], left_out) == (["169.254.20.10", "10.0.0.1", "fd00::1"], 0)


def test_an_address_whose_device_is_gone_since_keeps_the_devices_number(play: Play) -> None:
    play([InterfaceAddress(9, b"\x0a\0\0\1", 24)])
    ((found,), _) = read_here(100)
    assert (found.device, found.kind) == ("if9", None)


def test_beyond_the_room_there_is_addresses_are_counted(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "ADDRESSES_PER_NETNS", 5)
    play([four(n) for n in range(100)])
    assert [(len(found), left_out) for found, left_out in map(read_here, (0, 3, 50))] == [(0, 6), (3, 3), (5, 1)]


def test_addresses_that_were_not_read_are_counted_whatever_those_before_them_are(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "ADDRESSES_PER_NETNS", 5)
    play([InterfaceAddress(1, b"\x7f\0\0\1", 8), *map(four, range(100))])
    found, left_out = read_here(50)
    assert (len(found), left_out) == (5, 1)


def test_all_namespaces_share_one_bound(play: Play, roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "ADDRESSES_LIMIT", 3)
    play([four(n) for n in range(4)])
    sample = AddressesCollector(roots).collect()
    assert ({inum: len(found) for inum, found in sample.by_netns.items()}, sample.left_out) == ({OWN: 3}, 1)


def test_a_namespace_that_cannot_be_entered_is_counted(play: Play, roots: Roots) -> None:
    play([four(1)])
    sample = AddressesCollector(roots).collect()
    assert (list(sample.by_netns), sample.netns_unread) == ([OWN], 1)


def test_a_namespace_without_addresses_is_read_and_not_in_the_sample(play: Play, roots: Roots) -> None:
    play([])
    sample = AddressesCollector(roots).collect()
    assert (sample.by_netns, sample.netns_unread) == ({}, 1)


def test_no_more_namespaces_are_entered_than_the_limit(
    play: Play, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(100, 110):
        (roots.proc / str(pid) / "ns").mkdir(parents=True)
        (roots.proc / str(pid) / "ns/net").symlink_to(f"net:[{OTHER + pid}]")
    monkeypatch.setattr(addresses, "NAMESPACES_LIMIT", 2)
    play([four(1)])
    assert AddressesCollector(roots).collect().netns_unread == 11


def test_an_answer_that_makes_no_sense_is_said(play: Play, roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Played, _at_most: int) -> list[InterfaceAddress]:
        raise MalformedError("rtnetlink: an address message has 1 bytes")

    play([])
    monkeypatch.setattr(Played, "addresses", broken)
    with pytest.raises(MalformedError):
        AddressesCollector(roots).collect()


def test_without_a_procfs_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        AddressesCollector(Roots(proc=tmp_path)).collect()
