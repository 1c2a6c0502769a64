"""Sockets of which two snapshots see the same positions."""

from __future__ import annotations

import pytest

from whodunnet.collectors import sockets_diag_groups
from whodunnet.collectors.sockets_diag_groups import Positions
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket

from .grouping import SERVER, UNREAD, grouped, like, only


def two_snapshots(before: InetSocket, after: InetSocket) -> int | None:
    positions = Positions()
    positions.begin()
    assert only(grouped(before, previous=positions)).unchanged is None
    positions.finish()
    positions.begin()
    return only(grouped(after, previous=positions)).unchanged


@pytest.mark.parametrize(
    ("after", "unchanged"),
    [
        (UNREAD, 1),
        (like(UNREAD, receive_queue=20_500, bytes_received=21_500), 1),  # more came, nothing was read
        (like(UNREAD, bytes_received=21_500), 0),  # as much was read as came
        (like(UNREAD, receive_queue=19_999), 0),
        (like(UNREAD, bytes_acked=2), 0),
        (like(UNREAD, cookie=2), 0),
    ],
)
def test_unchanged_means_the_same_positions(after: InetSocket, unchanged: int) -> None:
    assert two_snapshots(UNREAD, after) == unchanged


def test_unchanged_in_an_accept_queue() -> None:
    assert two_snapshots(like(inode=0), like(inode=0)) == 1


def test_sockets_without_symptom_are_not_compared() -> None:
    assert two_snapshots(SERVER, SERVER) == 0


def test_positions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "POSITIONS_MAX", 1)
    positions = Positions()
    for _ in range(2):
        positions.begin()
        group = only(grouped(UNREAD, like(UNREAD, cookie=2), previous=positions))
        positions.finish()
    assert group.unchanged == 1
