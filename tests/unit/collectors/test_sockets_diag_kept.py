"""What is kept of single sockets besides their groups, and within which bounds."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.collectors import sockets_diag_groups
from whodunnet.collectors.sockets_diag_groups import Grouping, Positions
from whodunnet.kernel.netlink.sock_diag_messages import PlainSocket, SocketMemory
from whodunnet.model.sockets import DroppingSocket, Endpoint, NameSocket

from .grouping import ALL_SEEN, NETNS, UNREAD, grouped, like, only


def test_full_groups_merge_endpoints_and_then_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "ENDPOINT_GROUPS_MAX", 2)
    monkeypatch.setattr(sockets_diag_groups, "GROUPS_MAX", 3)
    peers = [like(local_port=40000, remote_port=port) for port in (1, 2, 3, 4, 1)]
    stranger = like(inode=12, local_port=40000, remote_port=9)
    grouping = grouped(*peers, stranger)
    assert {(g.endpoint.port if g.endpoint else None, g.sockets) for g in grouping.groups()} == {
        (1, 2),
        (2, 1),
        (None, 2),
    }
    assert (grouping.other.sockets, grouping.other.memory_bytes) == (1, 3210)


def test_the_stuck_sample_is_bounded_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "STUCK_MAX", 100)
    grouping = grouped(*(like(UNREAD, remote_port=port) for port in range(1, 10_001)))
    assert (len(grouping.stuck), grouping.stuck_total) == (100, 10_000)
    late = sum((one.remote.port or 0) > 5000 for one in grouping.stuck)
    assert 30 <= late <= 70  # 50 expected; fixed seed


def datagrams(drops: int, inode: int = 12, **other: Any) -> PlainSocket:
    memory = SocketMemory(rmem_alloc=4_000, rcvbuf=4_600, drops=drops)
    return PlainSocket(family=4, inode=inode, memory=memory, local=("10.0.0.1", 53), **other)


def test_a_udp_socket_with_drops_is_kept_with_its_ends_and_owner() -> None:
    grouping = Grouping(ALL_SEEN, Positions())
    for found in (datagrams(0), datagrams(7), datagrams(9, inode=11, remote=("10.0.0.9", 53))):
        grouping.add(NETNS, "udp", found, frozenset())
    local = Endpoint("10.0.0.1", 53)
    assert grouping.dropping == [
        DroppingSocket(
            owner_pid=200, netns=NETNS, inode=12, local=local, dropped=7, unread_bytes=4_000, limit_bytes=4_600,
            shared=True,
        ),
        DroppingSocket(
            owner_pid=100, netns=NETNS, inode=11, local=local, remote=Endpoint("10.0.0.9", 53), dropped=9,
            unread_bytes=4_000, limit_bytes=4_600,
        ),
    ]  # fmt: skip


def test_sockets_with_drops_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "DROPPING_MAX", 1)
    grouping = Grouping(ALL_SEEN, Positions())
    for _ in range(2):
        grouping.add(NETNS, "udp", datagrams(7), frozenset())
    assert (len(grouping.dropping), grouping.dropping_cut) == (1, True)


def test_sockets_for_names_are_kept_with_their_ends_and_owner() -> None:
    grouping = Grouping(ALL_SEEN, Positions())
    asks = PlainSocket(family=4, inode=11, memory=SocketMemory(), local=("10.0.0.1", 4_000), remote=("10.0.0.9", 53))
    other = PlainSocket(family=4, inode=11, memory=SocketMemory(), local=("10.0.0.1", 4_000), remote=("10.0.0.9", 54))
    for found in (asks, other, datagrams(0)):
        grouping.add(NETNS, "udp", found, frozenset())
    assert grouping.names == [
        NameSocket(
            owner_pid=100, netns=NETNS, inode=11, local=Endpoint("10.0.0.1", 4_000), remote=Endpoint("10.0.0.9", 53)
        ),
        NameSocket(
            owner_pid=200, netns=NETNS, inode=12, local=Endpoint("10.0.0.1", 53), shared=True, unread_bytes=4000
        ),
    ]


def test_sockets_for_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "NAMES_MAX", 1)
    grouping = Grouping(ALL_SEEN, Positions())
    for _ in range(2):
        grouping.add(NETNS, "udp", datagrams(0), frozenset())
    assert (len(grouping.names), grouping.names_cut) == (1, True)


def test_accept_queues_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "ACCEPT_QUEUES_MAX", 1)
    grouping = grouped(like(state="listen"), like(state="listen"))
    assert (len(grouping.queues), grouping.queues_left_out, only(grouping).sockets) == (1, 1, 2)
