"""Grouping of made-up sockets: who holds them, what they show, how long nothing has moved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import sockets_diag_groups
from whodunnet.collectors.sockets_diag_groups import Grouping, Positions, age_ms_of, role_of, symptom_of
from whodunnet.kernel.netlink.sock_diag_messages import STATES, InetSocket, PlainSocket, SocketMemory
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint, SocketGroup

from .grouping import ALL_SEEN, NETNS, PORTS, SERVER, grouped, like, only


def test_one_group_with_every_sum() -> None:
    group = only(grouped(SERVER, like(remote_address="10.0.0.9", cookie=2, receive_queue=5, send_queue=6)))
    assert group == SocketGroup(
        owner_pid=100, netns=NETNS, protocol="tcp", family=4, state="established", role="accepted",
        holding="descriptor", endpoint=Endpoint(None, 80), sockets=2, memory_bytes=2 * 3210, receive_bytes=20,
        send_bytes=6000, unread_bytes=5, unsent_bytes=6, ages=(0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    )  # fmt: skip


def test_initiated_groups_are_by_peer() -> None:
    one, other = like(local_port=40000, remote_port=443), like(local_port=40001, remote_port=444, cookie=2)
    groups = grouped(one, one, other).groups()
    assert {(g.role, g.endpoint, g.sockets) for g in groups} == {
        ("initiated", Endpoint("10.0.0.2", 443), 2),
        ("initiated", Endpoint("10.0.0.2", 444), 1),
    }


def test_a_listener_has_an_accept_queue_and_no_bytes() -> None:
    listener = like(state="listen", remote_address="0.0.0.0", remote_port=0, receive_queue=3, send_queue=128)
    grouping = grouped(listener)
    group = only(grouping)
    assert (group.role, group.endpoint, group.unread_bytes, group.unsent_bytes, group.ages) == (
        "listener", Endpoint(None, 80), 0, 0, (),
    )  # fmt: skip
    assert grouping.queues == [
        AcceptQueue(owner_pid=100, netns=NETNS, local=Endpoint("10.0.0.1", 80), waiting=3, limit=128)
    ]


@pytest.mark.parametrize(
    ("changes", "symptom"),
    [
        ({"receive_queue": 16383}, "none"),
        ({"receive_queue": 16384}, "unread"),
        ({"receive_queue": 16384, "state": "close-wait"}, "none"),
        ({"receive_queue": 16385, "state": "close-wait"}, "unread"),
        ({"receive_queue": 1, "rcv_wnd": 0}, "unread"),
        ({"receive_queue": 1, "rcv_wnd": 0, "state": "close-wait"}, "none"),
        ({"receive_queue": 0, "rcv_wnd": 0}, "none"),
        ({"send_queue": 1, "snd_wnd": 0}, "window-closed"),
        ({"send_queue": 0, "snd_wnd": 0}, "none"),
        ({"send_queue": 1, "snd_wnd": 0, "state": "syn-sent"}, "none"),
        ({"send_queue": 1, "snd_wnd": 0, "receive_queue": 16384}, "unread"),
        ({"state": "close", "remote_port": 0, "segs_out": 0}, "never-connected"),
        ({"state": "close", "remote_port": 0}, "dead"),
        ({"state": "close", "segs_out": 0}, "dead"),
        ({"state": "listen", "receive_queue": 20000, "send_queue": 20000, "snd_wnd": 0}, "none"),
    ],
)
def test_symptoms(changes: dict[str, Any], symptom: str) -> None:
    assert symptom_of(like(**changes)) == symptom


@pytest.mark.parametrize(
    ("inode", "state", "port", "holding", "owner"),
    [
        (11, "established", 80, "descriptor", 100),
        (0, "established", 80, "accept-queue", None),
        (0, "close-wait", 80, "accept-queue", None),
        (0, "established", 81, "orphan", None),
        (0, "fin-wait-1", 80, "orphan", None),
        (0, "last-ack", 80, "orphan", None),
        (99, "established", 80, "no-descriptor", None),
    ],
)
def test_holding(inode: int, state: str, port: int, holding: str, owner: int | None) -> None:
    group = only(grouped(like(inode=inode, state=state, local_port=port)))
    assert (group.holding, group.owner_pid) == (holding, owner)
    assert group.cgroup_id == (77 if owner is None else None)


@pytest.mark.parametrize(
    ("holders", "later_ms"),
    [
        (SocketHolders(whole_machine=True, unreadable=1), 1.0),
        (SocketHolders(whole_machine=True, truncated=True), 1.0),
        (SocketHolders(whole_machine=False), 1.0),
        (SocketHolders(whole_machine=True), 3001.0),  # it may be younger than the first look at the descriptors
    ],
)
def test_without_certainty_a_missing_owner_is_a_loss(holders: SocketHolders, later_ms: float) -> None:
    grouping = grouped(SERVER, holders=holders, later_ms=later_ms)
    group = only(grouping)
    assert (group.holding, group.owner_pid, grouping.lost) == ("descriptor", None, 1)


def test_a_descriptor_found_later_is_an_owner() -> None:
    grouping = Grouping(SocketHolders(whole_machine=True), Positions())
    grouping.add(NETNS, "tcp", SERVER, PORTS)
    assert grouping.groups() == ()
    grouping.settle(ALL_SEEN, 1.0)
    assert (only(grouping).owner_pid, grouping.lost) == (100, 0)


def test_what_cannot_wait_is_lost_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag_groups, "PENDING_MAX", 1)
    grouping = grouped(like(inode=98), like(inode=99))
    assert (sum(group.sockets for group in grouping.groups()), grouping.lost) == (2, 1)


def test_shared_sockets_count_once() -> None:
    group = only(grouped(like(inode=12)))
    assert (group.sockets, group.shared, group.owner_pid) == (1, 1, 200)


@pytest.mark.parametrize(
    ("state", "holding", "age"),
    [
        ("established", "descriptor", 3000),
        ("fin-wait-2", "descriptor", 3000),
        ("established", "accept-queue", 61_000),
        ("close-wait", "descriptor", 61_000),
        ("last-ack", "orphan", 61_000),
        ("closing", "orphan", 61_000),
        ("syn-sent", "descriptor", None),
        ("syn-recv", "descriptor", None),
        ("listen", "descriptor", None),
        ("close", "descriptor", None),
    ],
)
def test_ages_by_state(state: str, holding: Any, age: int | None) -> None:
    assert age_ms_of(like(state=state), holding) == age


@given(age=st.integers(0, 2**32 - 1))
def test_age_classes_agree_with_the_model(age: int) -> None:
    group = only(grouped(like(last_data_sent_ms=age, last_data_recv_ms=2**32 - 1)))
    assert sum(group.ages) == 1
    for bound in AGE_BOUNDS_SECONDS:
        assert group.older_than(bound) == (age >= 1000 * bound)


@pytest.mark.parametrize(
    ("protocol", "inode", "holding", "lost"),
    [
        ("udp", 11, "descriptor", 0),
        ("unix", 0, "accept-queue", 0),
        ("udp", 0, "kernel", 0),
        ("udp", 99, "descriptor", 1),
    ],
)
def test_other_protocols(protocol: Any, inode: int, holding: str, lost: int) -> None:
    grouping = Grouping(ALL_SEEN, Positions())
    grouping.add(NETNS, protocol, PlainSocket(4, inode, SocketMemory(rmem_alloc=8, fwd_alloc=-3)), frozenset())
    grouping.settle(ALL_SEEN, 1.0)
    group = only(grouping)
    assert (group.protocol, group.state, group.role, group.holding) == (protocol, "none", "unconnected", holding)
    assert (group.memory_bytes, grouping.lost) == (5, lost)


SOCKETS = st.builds(
    lambda **changes: like(**changes),
    state=st.sampled_from(sorted(set(STATES[1:]))),
    inode=st.sampled_from([0, 11, 12, 99]),
    local_port=st.sampled_from([80, 81]),
    remote_port=st.integers(0, 9),
    receive_queue=st.integers(0, 2**32 - 1),
    send_queue=st.integers(0, 2**32 - 1),
    cookie=st.integers(0, 20),
    snd_wnd=st.sampled_from([None, 0, 1, 65536]),
    rcv_wnd=st.sampled_from([None, 0, 1, 65536]),
)


@given(found=st.lists(SOCKETS, max_size=30))
def test_nothing_is_counted_twice_or_dropped(found: list[InetSocket]) -> None:
    grouping = grouped(*found)
    groups = grouping.groups()
    assert sum(group.sockets for group in groups) == len(found)
    assert sum(group.memory_bytes for group in groups) == 3210 * len(found)
    assert sum(group.unread_bytes for group in groups) == sum(one.unread_bytes for one in found)
    assert all(role_of(one, PORTS) in {group.role for group in groups} for one in found)
