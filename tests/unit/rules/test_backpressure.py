from __future__ import annotations

from collections.abc import Sequence

import pytest

from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets, StuckSocket
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Process, Workloads
from whodunnet.rules.backpressure import Backpressure, follow, remote_key

from .nodes import (
    NETNS,
    client,
    culprits,
    finding,
    findings,
    group,
    held,
    in_container,
    memory_of,
    named,
    owners,
    pairs,
    parties,
    pids,
    reading,
    recording,
    server,
)

SERVICE = Endpoint("10.96.0.1", 80)
REMOTE = Endpoint("198.51.100.4", 51_000)


def followed(stuck: list[StuckSocket], workloads: Workloads | None = None) -> Backpressure:
    found = Sockets(method="bpf", groups=(), stuck=tuple(stuck), stuck_total=len(stuck))
    return follow(found, workloads or Workloads())


def table(result: Backpressure) -> dict[str, dict[str, int]]:
    """reader -> holder -> sockets"""
    return {reader: {h: x.sockets for h, x in holders.items()} for reader, holders in result.by_reader.items()}


def remotes(result: Backpressure) -> dict[str, dict[str, int]]:
    return {address: {h: x.sockets for h, x in holders.items()} for address, holders in result.by_remote.items()}


def test_a_full_send_queue_is_followed_to_the_reversed_addresses() -> None:
    result = followed(pairs(1, 2, 3, memory=10))
    assert table(result) == {"pid 2": {"pid 1": 3}}
    assert result.by_reader["pid 2"]["pid 1"].memory_bytes == 30
    assert result.by_remote == {}


def test_several_processes_of_a_container_are_one_reader_and_one_holder() -> None:
    workloads = owners(in_container("web", 1, 11), in_container("job", 2, 12))
    result = followed(pairs(1, 2, 2) + pairs(11, 12, 3, first=10), workloads=workloads)
    assert [sum(h.values()) for h in table(result).values()] == [5]


def test_an_owner_that_does_not_read_itself_is_no_holder_for_another() -> None:
    assert not any(followed(pairs(1, 1, 3)).by_reader.values())


def test_a_server_behind_a_service_address_is_found_by_the_client_that_stays_the_same() -> None:
    """The server accepted and holds; the client's peer is the service's address, not the server's."""
    result = followed([held(1, server(), client(0)), reading(2, client(0), SERVICE)])
    assert table(result) == {"pid 2": {"pid 1": 1}}


def test_a_client_behind_a_service_address_is_found_by_its_own_end() -> None:
    """The client holds (an upload); the server accepted it under another address than the client used."""
    upload = held(1, client(0), SERVICE, role="initiated")
    result = followed([upload, reading(2, server(), client(0), role="accepted")])
    assert table(result) == {"pid 2": {"pid 1": 1}}


def test_an_end_that_two_sockets_share_names_neither_as_the_reader() -> None:
    ambiguous = [reading(2, client(0), SERVICE), reading(3, client(0), Endpoint("10.96.0.2", 80))]
    assert followed([held(1, server(), client(0)), *ambiguous]).by_reader == {}


def test_an_exact_pair_wins_over_one_that_shares_an_end() -> None:
    other = reading(3, client(0), SERVICE)
    assert table(followed([*pairs(1, 2, 1), other])) == {"pid 2": {"pid 1": 1}}


def test_a_socket_of_the_same_direction_is_not_the_other_end() -> None:
    """Both initiated: two connections that happen to share an address and port, not two ends of one."""
    holder = held(1, client(0), SERVICE, role="initiated")
    assert followed([holder, reading(2, server(), client(0), role="initiated")]).by_reader == {}


def test_a_peer_that_is_nowhere_on_this_node_is_remote() -> None:
    result = followed([held(1, server(), REMOTE), held(1, server(), Endpoint(REMOTE.address, 51_001))])
    assert remotes(result) == {"198.51.100.4": {"pid 1": 2}}
    assert result.by_reader == {}


def test_a_peer_whose_address_is_local_is_not_called_remote_although_its_socket_was_not_sampled() -> None:
    result = followed([held(1, server(), client(0)), reading(2, client(9), server(81))])
    assert (result.by_reader, result.by_remote) == ({}, {})


def test_orphans_are_followed_too() -> None:
    result = followed(pairs(None, 2, 3, holding="orphan"))
    assert table(result) == {"pid 2": {f"netns {NETNS} orphan": 3}}
    assert result.by_reader["pid 2"][f"netns {NETNS} orphan"].orphans.total() == 3


def relay(server_pid: int, proxy: int, client_pid: int, n: int, base: int = 0) -> list[StuckSocket]:
    """client does not read from proxy, so proxy does not read from server."""
    return pairs(proxy, client_pid, n, first=base, port=9000) + pairs(server_pid, proxy, n, first=base + 500)


def test_a_relay_only_passes_on_what_its_own_reader_does() -> None:
    result = followed(relay(1, 2, 3, 4))
    assert result.relays == {"pid 2": {"pid 3"}}
    assert result.origins("pid 2") == {"pid 3"}
    assert result.origins("pid 3") == {"pid 3"}


def test_a_relay_may_wait_for_a_remote_reader() -> None:
    stuck = pairs(1, 2, 4) + [held(2, server(9000), Endpoint(REMOTE.address, 1_000 + i)) for i in range(4)]
    result = followed(stuck)
    assert result.origins("pid 2") == {remote_key(REMOTE.address or "")}
    assert list(result.held_for(remote_key(REMOTE.address or ""))) == ["pid 1"]


def test_what_an_owner_holds_for_a_reader_and_for_its_relay_is_added() -> None:
    stuck = pairs(1, 3, 4, memory=10) + pairs(2, 3, 6, first=100, port=9000, memory=10) + pairs(
        1, 2, 5, first=500, memory=10)  # fmt: skip
    found = followed(stuck).held_for("pid 3")
    assert {key: (x.sockets, x.memory_bytes, x.pids[1]) for key, x in found.items()} == {
        "pid 1": (9, 90, 9), "pid 2": (6, 60, 0),
    }  # fmt: skip


def test_two_relays_in_a_row_lead_to_the_last_reader() -> None:
    chain = relay(1, 2, 3, 4) + pairs(3, 4, 4, first=2_000, port=9100)
    result = followed(chain)
    assert result.origins("pid 2") == {"pid 4"}


@pytest.mark.parametrize(("held_up", "passes_on"), [(4, False), (5, True)])
def test_a_relay_is_held_up_towards_at_least_half_of_what_it_does_not_read(held_up: int, passes_on: bool) -> None:
    result = followed(pairs(1, 2, 10) + pairs(2, 3, held_up, first=500, port=9000))
    assert ("pid 2" in result.relays) is passes_on


def test_readers_that_wait_for_each_other_end_the_search() -> None:
    circle = pairs(1, 2, 4) + pairs(2, 1, 4, first=500, port=9000)
    result = followed(circle)
    assert result.origins("pid 1") == {"pid 1"}
    assert result.origins("pid 2") == {"pid 2"}


def test_a_chain_of_relays_longer_than_is_followed_ends_at_itself() -> None:
    chain = [end for i in range(1, 9) for end in pairs(i, i + 1, 2, first=100 * i, port=9000 + i)]
    assert followed(chain).origins("pid 2") == {"pid 2"}


@pytest.mark.parametrize(("there", "sockets"), [(500, 500), (5, 5), (3, 5)])
def test_each_full_send_queue_in_the_sample_stands_for_several(there: int, sockets: int) -> None:
    groups = (group("send-queue-full", there, pid=1), group("response-never-read", 9_000, pid=2))
    stuck = tuple(pairs(1, 2, 5, memory=10))
    found = follow(Sockets(method="bpf", groups=groups, stuck=stuck, stuck_total=there + 9_000), Workloads())
    (held_for_it,) = found.by_reader["pid 2"].values()
    assert (held_for_it.sockets, held_for_it.memory_bytes, held_for_it.unchanged) == (sockets, 10 * sockets, sockets)


def test_remote_readers_are_scaled_alike() -> None:
    groups = (group("send-queue-full", 500, pid=1),)
    stuck = tuple(held(1, server(), Endpoint(REMOTE.address, 1_000 + i), memory_bytes=10) for i in range(5))
    found = follow(Sockets(method="bpf", groups=groups, stuck=stuck, stuck_total=500), Workloads())
    assert remotes(found) == {"198.51.100.4": {"pid 1": 500}}


@pytest.mark.parametrize("loopback", ["127.0.0.1", "127.0.0.53", "::1"])
def test_the_same_loopback_addresses_in_two_namespaces_are_two_connections(loopback: str) -> None:
    """A sidecar and its application in each of two pods: only in the second does anybody not read."""
    near, far = Endpoint(loopback, 15_001), Endpoint(loopback, 40_000)
    elsewhere = reading(4, far, near, netns=2)
    assert followed([held(1, near, far, netns=1), elsewhere]).by_reader == {}
    here = reading(3, far, near, netns=1)
    assert table(followed([held(1, near, far, netns=1), elsewhere, here])) == {"pid 3": {"pid 1": 1}}


def test_a_connection_between_two_namespaces_is_followed() -> None:
    stuck = [held(1, server(), client(0), netns=1), reading(2, client(0), server(), netns=2)]
    assert table(followed(stuck)) == {"pid 2": {"pid 1": 1}}


# --- What the rule makes of it -----------------------------------------------------------------------------------

EACH = 1_000_000


def backlog(
    stuck: list[StuckSocket],
    *readers: int,
    n: int = 60,
    memory: TcpMemory | None = None,
    also: Sequence[SocketGroup] = (),
) -> Recording:
    """Each reader has n unread sockets of 100 kB, pid 1 as many with full send queues of 1 MB; two moments."""
    groups = [
        group("send-queue-full", n, pid=1, memory=n * EACH, unchanged=n),
        *(group("response-never-read", n, pid=r, memory=n * EACH // 10, unchanged=n, age=60) for r in readers),
    ]
    return recording(
        [groups, groups], stuck=tuple(stuck), stuck_total=2 * n, workloads=named(1, 2, 3, 4), memory=memory, also=also
    )


def test_the_reader_is_the_culprit_and_whoever_has_the_full_send_queues_only_holds() -> None:
    found = finding(backlog(pairs(1, 2, 60, memory=EACH), 2))
    assert (pids(found, "culprit"), pids(found, "holder")) == ([2], [1])
    assert parties(found, "culprit")[0].memory_bytes == 60 * EACH + 60 * EACH // 10
    assert (found.confidence, found.severity) == ("proven", "warning")


def test_a_holder_of_full_send_queues_alone_is_no_culprit() -> None:
    assert culprits(backlog([])) == []


def test_a_proxy_between_them_is_not_the_culprit() -> None:
    stuck = pairs(2, 3, 60, first=0, port=9000, memory=EACH) + pairs(1, 2, 60, first=500, memory=EACH)
    node = backlog(stuck, 2, 3)
    assert culprits(node) == [3]
    assert sorted(p or 0 for p in pids(finding(node), "holder")) == [1, 2]


def test_what_a_reader_ties_up_is_scaled_from_the_sample_to_all() -> None:
    found = finding(backlog(pairs(1, 2, 6, memory=EACH), 2))
    assert parties(found, "culprit")[0].memory_bytes == 60 * EACH + 60 * EACH // 10


def test_orphans_that_wait_for_a_reader_of_this_node_are_its_doing() -> None:
    stuck = pairs(None, 2, 60, memory=EACH, holding="orphan")
    orphans = group("orphans", 60, memory=60 * EACH, age=60, unsent=60 * EACH)
    assert [f.shape for f in findings(backlog(stuck, 2, also=[orphans]))] == ["response-never-read"]


def test_a_remote_reader_is_named_by_its_address_and_accuses_nobody_here() -> None:
    stuck = [held(1, server(), Endpoint(REMOTE.address, 1_000 + i), memory_bytes=EACH) for i in range(60)]
    found = finding(backlog(stuck))
    assert (found.shape, found.claim, found.confidence) == ("peer-does-not-read", "holds", "likely")
    assert parties(found, "culprit") == []
    assert parties(found, "peer")[0].endpoint == Endpoint(REMOTE.address, None)
    assert pids(found, "holder") == [1]


@pytest.mark.parametrize(("n", "told"), [(49, False), (50, True)])
def test_a_remote_reader_is_told_from_the_threshold_on(n: int, told: bool) -> None:
    stuck = [held(1, server(), Endpoint(REMOTE.address, 1_000 + i)) for i in range(n)]
    assert bool(findings(backlog(stuck, n=n))) is told


def test_a_remote_reader_in_one_snapshot_is_only_possible() -> None:
    stuck = tuple(held(1, server(), Endpoint(REMOTE.address, 1_000 + i), unchanged=None) for i in range(60))
    groups = [group("send-queue-full", 60, pid=1)]
    found = finding(recording([groups], stuck=stuck, stuck_total=60, workloads=named(1)))
    assert (found.shape, found.confidence, found.severity) == ("peer-does-not-read", "possible", "info")


@pytest.mark.parametrize(("n", "told"), [(120, False), (121, True)])
def test_orphans_are_their_readers_doing_if_half_of_them_are(n: int, told: bool) -> None:
    stuck = pairs(None, 2, 60, memory=EACH, holding="orphan")
    orphans = group("orphans", n, memory=n * EACH, age=60, unsent=60)
    assert ("orphans" in [f.shape for f in findings(backlog(stuck, 2, also=[orphans]))]) is told


@pytest.mark.parametrize(("moved", "told"), [(31, False), (30, True)])
def test_a_remote_reader_that_takes_data_is_only_slow(moved: int, told: bool) -> None:
    stuck = [
        held(1, server(), Endpoint(REMOTE.address, 1_000 + i), unchanged=i >= moved, memory_bytes=1) for i in range(60)
    ]
    assert bool(findings(backlog(stuck))) is told


@pytest.mark.parametrize(("used", "severity"), [(9_999, "warning"), (10_000, "info")])
def test_under_pressure_a_closed_window_may_be_the_nodes_own_and_is_only_possible(used: int, severity: str) -> None:
    stuck = [held(1, server(), Endpoint(REMOTE.address, 1_000 + i), memory_bytes=EACH) for i in range(60)]
    found = finding(backlog(stuck, memory=memory_of(used)))
    assert (found.severity, found.confidence) == (severity, "likely" if severity == "warning" else "possible")


@pytest.mark.parametrize(("each", "severity"), [(51_199, "info"), (51_200, "warning")])
def test_a_remote_reader_that_ties_up_a_twentieth_of_the_limit_is_a_warning(each: int, severity: str) -> None:
    """15,000 pages; a twentieth is 3,072,000 bytes."""
    stuck = [held(1, server(), Endpoint(REMOTE.address, 1_000 + i), memory_bytes=each) for i in range(60)]
    assert finding(backlog(stuck, memory=memory_of(100))).severity == severity


def test_orphans_of_a_container_that_wait_for_a_reader_of_this_node_are_its_doing() -> None:
    """Every orphan has a cgroup id where the kernel has cgroup v2."""
    stuck = pairs(None, 2, 60, memory=EACH, holding="orphan")
    orphans = group("orphans", 60, memory=60 * EACH, age=60, unsent=60 * EACH, cgroup_id=77)
    assert [f.shape for f in findings(backlog(stuck, 2, also=[orphans]))] == ["response-never-read"]


def test_orphans_towards_someone_else_are_told_beside_those_of_a_local_reader() -> None:
    stuck = pairs(None, 2, 60, memory=EACH, holding="orphan")
    local = group("orphans", 60, memory=60 * EACH, age=60, unsent=60)
    others = group("orphans", 900, memory=60 * EACH, age=60, unsent=60, endpoint=Endpoint(None, 25))
    found = findings(backlog(stuck, 2, also=[local, others]))
    assert sorted(f.shape or "" for f in found) == ["orphans", "response-never-read"]


# --- Defects that were reported ---------------------------------------------------------------------------------


def test_as_many_orphans_towards_someone_else_are_told_too() -> None:
    stuck = pairs(None, 2, 60, memory=EACH, holding="orphan")
    local = group("orphans", 60, memory=60 * EACH, age=60, unsent=60)
    others = group("orphans", 60, memory=60 * EACH, age=60, unsent=60, endpoint=Endpoint(None, 25))
    found = findings(backlog(stuck, 2, also=[local, others]))
    assert sorted(f.shape or "" for f in found) == ["orphans", "response-never-read"]


def test_a_reader_is_excused_only_where_somebody_else_is_named() -> None:
    """60 connections that it does not read, and 30 towards a remote peer that takes nothing."""
    stuck = [reading(2, client(i), server()) for i in range(60)]
    stuck += [held(2, server(9000), Endpoint(REMOTE.address, 1_000 + i)) for i in range(30)]
    groups = [group("response-never-read", 60, pid=2, age=60, memory=60_000, unchanged=60),
              group("send-queue-full", 30, pid=2, memory=30_000, unchanged=30)]  # fmt: skip
    node = recording([groups] * 2, stuck=tuple(stuck), stuck_total=90, workloads=named(2))
    assert findings(node)


def test_an_owner_that_holds_for_a_remote_reader_and_for_its_relay_holds_both() -> None:
    remote = [Endpoint(REMOTE.address, 1_000 + i) for i in range(240)]
    stuck = [held(1, server(), end, memory_bytes=10) for end in remote[:60]]
    stuck += [held(2, server(9000), end, memory_bytes=10) for end in remote[60:120]]
    stuck += pairs(1, 2, 60, first=500, memory=10)
    groups = [group("send-queue-full", 120, pid=1), group("send-queue-full", 60, pid=2)]
    node = recording([groups] * 2, stuck=tuple(stuck), stuck_total=len(stuck), workloads=named(1, 2))
    found = finding(node)
    assert {p.process.pid: p.sockets for p in parties(found, "holder") if isinstance(p.process, Process)} == {
        1: 120, 2: 60,
    }  # fmt: skip
