"""Grouping of made-up sockets, and the pass over namespaces with a made-up kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import sockets_diag, sockets_diag_groups
from whodunnet.collectors.sockets_diag import collect_by_sock_diag
from whodunnet.collectors.sockets_diag_groups import Grouping, Positions, age_ms_of, role_of, symptom_of
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.netlink.sock_diag import STATES, InetSocket, PlainSocket, SocketMemory, TcpInfo
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.kernel.roots import Roots
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, DroppingSocket, Endpoint, NameSocket, SocketGroup

NETNS = 4026531840
PORTS = frozenset({80})
ALL_SEEN = SocketHolders(pids={11: 100, 12: 200}, shared={12}, whole_machine=True)

INFO = TcpInfo(
    probes=0, snd_mss=1448, unacked=0, last_data_sent_ms=3000, last_data_recv_ms=7000, last_ack_recv_ms=61_000,
    bytes_acked=1, bytes_received=1000, segs_out=5, notsent_bytes=0, snd_wnd=65536, rcv_wnd=65536,
)  # fmt: skip
SERVER = InetSocket(
    family=4, state="established", timer=0, local_address="10.0.0.1", local_port=80, remote_address="10.0.0.2",
    remote_port=5000, cookie=1, receive_queue=0, send_queue=0, uid=0, inode=11,
    memory=SocketMemory(rmem_alloc=10, rcvbuf=1000, fwd_alloc=200, wmem_queued=3000), info=INFO, cgroup_id=77,
)  # fmt: skip


def like(base: InetSocket = SERVER, **changes: Any) -> InetSocket:
    """`base` with other values; names of TcpInfo's members go there."""
    inner = {name: changes.pop(name) for name in list(changes) if name in TcpInfo.__struct_fields__}
    assert base.info is not None
    return msgspec.structs.replace(base, info=msgspec.structs.replace(base.info, **inner), **changes)


def grouped(
    *found: InetSocket, holders: SocketHolders = ALL_SEEN, previous: Positions | None = None, later_ms: float = 1.0
) -> Grouping:
    grouping = Grouping(holders, previous or Positions())
    for one in found:
        grouping.add(NETNS, "tcp", one, PORTS)
    grouping.settle(holders, later_ms)
    return grouping


def only(grouping: Grouping) -> SocketGroup:
    (group,) = grouping.groups()
    return group


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
    listener = like(state="listen", remote_address="0.0.0.0", remote_port=0, receive_queue=3, send_queue=128)  # noqa: S104
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


def two_snapshots(before: InetSocket, after: InetSocket) -> int | None:
    positions = Positions()
    positions.begin()
    assert only(grouped(before, previous=positions)).unchanged is None
    positions.finish()
    positions.begin()
    return only(grouped(after, previous=positions)).unchanged


UNREAD = like(receive_queue=20_000, bytes_received=21_000)


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
        NameSocket(owner_pid=200, netns=NETNS, inode=12, local=Endpoint("10.0.0.1", 53), shared=True),
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


class Kernel:
    """Namespaces 1 (ours), 2 and 3 (refused), each with the same socket; stands in for namespaces and SockDiag."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "thread-self/ns").mkdir(parents=True)
        (tmp_path / "thread-self/ns/net").symlink_to("net:[1]")
        self.roots = Roots(proc=tmp_path)
        self.entered: list[int | None] = []
        self.refused = {3}
        ways = {number: namespaces.Way(pid=number) for number in (1, 2, 3)}
        monkeypatch.setattr(namespaces, "find", lambda _: namespaces.Namespaces(ways=ways, unidentified=4))
        monkeypatch.setattr(namespaces, "inside", self.inside)
        monkeypatch.setattr(sockets_diag, "_read_namespace", self.read)
        monkeypatch.setattr(sockets_diag, "read_socket_holders", lambda _: ALL_SEEN)

    def inside(self, path: Path, inum: int | None, call: Callable[[], None]) -> None:
        assert path == self.roots.proc / str(inum) / "ns/net"
        if inum in self.refused:
            raise UnreadableError("no CAP_SYS_ADMIN", "missing-capability", "CAP_SYS_ADMIN")
        self.entered.append(inum)
        call()

    def read(self, netns: int, grouping: Grouping, _: object) -> None:
        if netns in self.refused:
            raise UnreadableError("refused", "unsupported")
        grouping.add(netns, "tcp", SERVER, PORTS)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    return Kernel(monkeypatch, tmp_path)


def test_each_namespace_once_and_the_refused_counted(kernel: Kernel) -> None:
    sample = collect_by_sock_diag(kernel.roots, 16384, Positions())
    assert kernel.entered == [2]  # our own needs no entering
    assert [group.netns for group in sample.groups] == [1, 2]
    assert (sample.method, sample.netns_total, sample.netns_unread, sample.page_size_bytes) == (
        "sock_diag",
        None,
        5,
        16384,
    )
    assert any("could not be entered or read: 5 (first reason: no CAP_SYS_ADMIN)" in text for text in sample.not_seen)


def test_a_namespace_is_left_out_when_time_is_up(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_diag, "READING_SECONDS_MAX", -1.0)
    sample = collect_by_sock_diag(kernel.roots, 4096, Positions())
    assert kernel.entered == []
    assert ([group.netns for group in sample.groups], sample.netns_unread) == ([1], 2 + 4)


def test_nothing_readable_is_an_error_not_an_empty_sample(kernel: Kernel) -> None:
    kernel.refused = {1, 2, 3}
    with pytest.raises(UnreadableError) as caught:
        collect_by_sock_diag(kernel.roots, 4096, Positions())
    assert caught.value.code == "unsupported"
