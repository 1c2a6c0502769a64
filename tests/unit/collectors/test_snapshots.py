"""Which samples come together in a snapshot, and what their costs say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from whodunnet.collectors import snapshots
from whodunnet.collectors.snapshots import COLLECTORS, SnapshotTaker
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.cpu_quota import CpuQuotas
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import AcceptQueue, Endpoint, NameSocket, Sockets
from whodunnet.model.stalls import Holder, Stall, Stalls, Task
from whodunnet.model.workload import Process, Workload, Workloads

NODE, POD = 11, 12
FLOWS = tuple(
    FlowGroup(family=4, protocol="udp", source=source, destination=None, entries=entries)
    for source, entries in (("10.0.0.1", 1), ("10.1.0.2", 4), ("10.9.9.9", 3))
)
TABLE = Conntrack(loaded=True, netns=NODE, count=10, groups=FLOWS, other_entries=2, malformed=5, interrupted=1)
ADDRESSES = Addresses(
    by_netns={
        NODE: (DeviceAddress(address="10.0.0.1", prefix_length=24, device="eth0"),),
        POD: (DeviceAddress(address="10.1.0.2", prefix_length=24, device="eth0"),),
    },
    left_out=1,
)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the collectors read; an error is raised."""
    given: dict[str, Any] = {"conntrack": TABLE, "addresses": ADDRESSES, "asked": []}

    def answer(name: str) -> Any:
        if isinstance(given[name], Exception):
            raise given[name]
        return given[name]

    def attribute(_self: object, pids: list[int], **more: Any) -> Workloads:
        given["asked"].append((list(pids), sorted(more["netns"]), sorted(more["shared_netns"])))
        return Workloads(by_netns={POD: Workload(netns=POD)})

    monkeypatch.setattr(snapshots.ConntrackCollector, "collect", lambda _self: answer("conntrack"))
    monkeypatch.setattr(snapshots.AddressesCollector, "collect", lambda _self: answer("addresses"))
    monkeypatch.setattr(snapshots.WorkloadsCollector, "attribute", attribute)
    return given


@pytest.fixture
def taker() -> Iterator[SnapshotTaker]:
    with SnapshotTaker(Roots(), read_support(Roots()), ("conntrack",)) as made:
        yield made


def test_addresses_and_workloads_come_with_the_entries_of_conntrack(
    answers: dict[str, Any], taker: SnapshotTaker
) -> None:
    assert list(taker.take().samples) == ["conntrack", "addresses", "workloads"]
    assert answers["asked"] == [([], [NODE, POD], [NODE])]
    assert set(taker.costs) == {"conntrack", "addresses", "workloads"}


@pytest.mark.parametrize(
    "table", [Conntrack(loaded=False), Conntrack(loaded=True, netns=NODE, count=0), UnreadableError("no such table")]
)
def test_without_entries_neither_is_read(answers: dict[str, Any], taker: SnapshotTaker, table: Any) -> None:
    answers["conntrack"] = table
    assert list(taker.take().samples) == ["conntrack"]
    assert answers["asked"] == []


def test_the_cost_says_what_was_lost_and_how_much_has_an_opener(answers: dict[str, Any], taker: SnapshotTaker) -> None:
    """4 of a pod and 3 from elsewhere, of 8 in groups, 2 in none and 5 that could not be decoded."""
    taker.take()
    assert answers["conntrack"].entries_read == 15
    cost = taker.costs["conntrack"]
    assert (cost.lost, cost.truncated, cost.attributed_share) == (6, True, round(7 / 15, 4))
    assert taker.costs["addresses"].truncated


def test_addresses_that_cannot_be_read_are_a_failure_beside_the_table(
    answers: dict[str, Any], taker: SnapshotTaker
) -> None:
    answers["addresses"] = UnreadableError("/proc cannot be listed")
    samples = taker.take().samples
    assert list(samples) == ["conntrack", "addresses"]
    assert isinstance(samples["addresses"], Failure)
    assert taker.costs["conntrack"].attributed_share is None


def ended(port: int, connections: int, **fields: Any) -> ConnectionGroup:
    return ConnectionGroup(
        netns=POD, role="accepted", ending="closed-by-peer", state="established", server=Endpoint("10.1.0.2", port),
        connections=connections, **fields,
    )  # fmt: skip


CONNECTIONS = Connections(
    groups=(ended(80, 5, owner_pid=7, comm="nginx"), ended(81, 3), ended(82, 1)), watched_seconds=1.0,
    other={"opened": 1}, missed=2, untracked=3,
)  # fmt: skip
LISTENERS = Sockets(
    method="bpf", groups=(), accept_queues=tuple(
        AcceptQueue(owner_pid=pid, netns=POD, local=Endpoint(None, port), waiting=0, limit=1)
        for port, pid in ((81, 8), (82, 9))
    ),
)  # fmt: skip


@pytest.fixture
def both(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[SnapshotTaker]:
    """Connections and sockets; of their listeners one has a name."""
    known = Workloads(by_pid={8: Workload(process=Process(pid=8, comm="envoy"))})
    answers["connections"] = CONNECTIONS
    monkeypatch.setattr(snapshots.ConnectionsCollector, "collect", lambda _self: answers["connections"])
    monkeypatch.setattr(snapshots.SocketsCollector, "collect", lambda _self: LISTENERS)
    monkeypatch.setattr(snapshots.WorkloadsCollector, "attribute", lambda *_more, **_named: known)
    with SnapshotTaker(Roots(), read_support(Roots()), ("connections", "sockets")) as made:
        yield made


def test_owners_of_connections_are_named_with_those_of_sockets(both: SnapshotTaker) -> None:
    samples = both.take().samples
    assert list(samples) == ["connections", "sockets", "addresses", "workloads"]
    workloads = samples["workloads"]
    assert isinstance(workloads, Workloads)
    assert workloads.by_pid[7] == Workload(process=Process(pid=7, comm="nginx"), netns=POD)


def test_connections_alone_are_attributed_too(both: SnapshotTaker) -> None:
    named = ("connections", "addresses", "workloads")
    assert tuple(both.take(named).samples) == named


def test_who_is_behind_is_looked_up_only_where_that_is_asked(both: SnapshotTaker) -> None:
    assert list(both.take(("connections",)).samples) == ["connections"]


def test_addresses_come_with_the_groups_of_connections_and_are_read_once(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(snapshots.ConnectionsCollector, "collect", lambda _self: answers["connections"])
    monkeypatch.setattr(snapshots.AddressesCollector, "collect", lambda self: read.append(self) or ADDRESSES)
    with SnapshotTaker(Roots(), read_support(Roots()), ("connections", "conntrack")) as taker:
        answers |= {"connections": CONNECTIONS, "conntrack": Conntrack(loaded=False)}
        assert taker.take().samples["addresses"] == ADDRESSES
        answers["conntrack"] = TABLE
        taker.take()
        assert len(read) == 2
        answers |= {"connections": Connections(groups=(), watched_seconds=1.0), "conntrack": Conntrack(loaded=False)}
        assert "addresses" not in taker.take().samples


def test_addresses_come_with_questions_to_name_servers(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody knows whose name server it is, where nothing is tracked and no connection was made meanwhile."""
    answers["conntrack"] = Conntrack(loaded=False)
    open_now = NameSocket(netns=POD, inode=1, local=Endpoint("10.1.0.2", 4000), remote=Endpoint("10.1.0.9", 53))
    listens = NameSocket(netns=POD, inode=2, local=Endpoint("10.1.0.2", 53))
    monkeypatch.setattr(
        snapshots.SocketsCollector,
        "collect",
        lambda _self: Sockets(groups=(), method="procfs", names=answers["names"]),
    )
    monkeypatch.setattr(snapshots.ResolversCollector, "collect", lambda _self: Resolvers())
    with SnapshotTaker(Roots(), read_support(Roots()), ("sockets", "resolvers", "conntrack")) as taker:
        answers["names"] = (listens, open_now)
        assert taker.take().samples["addresses"] == ADDRESSES
        assert "addresses" not in taker.take(("sockets", "conntrack")).samples
        answers["names"] = (listens,)
        assert "addresses" not in taker.take().samples


def test_the_cost_says_which_ends_have_no_name(both: SnapshotTaker) -> None:
    """Of 10, 5 have a process and 3 a listener that is known."""
    both.take()
    cost = both.costs["connections"]
    assert (cost.lost, cost.truncated, cost.attributed_share) == (5, True, 0.8)


def test_counters_of_namespaces_alone_name_nobody(answers: dict[str, Any], both: SnapshotTaker) -> None:
    answers["connections"] = Connections(method="counters", groups=(), watched_seconds=0.0)
    assert list(both.take(("connections",)).samples) == ["connections"]
    assert both.costs["connections"].attributed_share is None


@pytest.mark.parametrize("wanted", [("connections",), ("stalls",), ("connections", "stalls"), ("conntrack",)])
def test_what_is_wanted_is_started_once_and_its_cost_is_noted(
    wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    for collector in (snapshots.ConnectionsCollector, snapshots.StallsCollector):
        monkeypatch.setattr(collector, "start", lambda self: started.append(self.name))
    with SnapshotTaker(Roots(), read_support(Roots()), wanted) as taker:
        taker.start()
        assert started == list(taker.costs) == [name for name in wanted if name != "conntrack"]


def test_whoever_was_met_in_a_stall_is_named_and_without_stalls_nobody_is_looked_up(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(pid=7, tid=7, comm="monitor", thread="monitor", process_started_seconds=5.0)
    end = Holder(task=task, mode="kernel", samples=1, seconds=0.0)
    stall = Stall(ended_boot_seconds=9.0, cpu=0, kind="late", wait_seconds=0.1, end=end)
    nothing = Stalls(watched_seconds=1.0, threshold_seconds=0.01)
    readings = [nothing, Stalls(stalls=(stall,), watched_seconds=2.0, threshold_seconds=0.01, lost=2, suppressed=3)]
    monkeypatch.setattr(snapshots.StallsCollector, "collect", lambda _self: readings.pop(0))
    with SnapshotTaker(Roots(), read_support(Roots()), ("stalls",)) as taker:
        assert list(taker.take().samples) == ["stalls"]
        assert answers["asked"] == []
        workloads = taker.take().samples["workloads"]
        assert isinstance(workloads, Workloads)
        assert workloads.by_pid[7] == Workload(process=Process(pid=7, comm="monitor"))
        assert taker.costs["stalls"].lost == 5


@pytest.mark.parametrize("bpf", [True, False])
def test_without_bpf_neither_collector_loads_it(bpf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Noted(snapshots.ConnectionsCollector):
        def __init__(self, *given: Any, bpf: bool) -> None:
            asked.append(bpf)
            super().__init__(*given, bpf=bpf)

    monkeypatch.setattr(snapshots, "ConnectionsCollector", Noted)
    with SnapshotTaker(Roots(), read_support(Roots()), ("connections",), bpf=bpf):
        assert asked == [bpf]


@pytest.mark.parametrize("active", [True, False])
def test_what_may_delay_packets_is_read_on_demand_only(active: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Noted(snapshots.MemoryCgroupsCollector):
        def __init__(self, *given: Any, active: bool) -> None:
            asked.append(active)
            super().__init__(*given, active=active)

    monkeypatch.setattr(snapshots, "MemoryCgroupsCollector", Noted)
    with SnapshotTaker(Roots(), read_support(Roots()), ("memory_cgroups",), active=active):
        assert asked == [active]


def test_quotas_are_read_of_those_whom_the_owners_have_named(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    cgroups = {5: (CgroupLine(0, (), "/shop"),)}
    monkeypatch.setattr(snapshots.WorkloadsCollector, "cgroups", cgroups)
    monkeypatch.setattr(
        snapshots.CpuQuotaCollector,
        "collect",
        lambda _self, of: asked.append(of) or CpuQuotas(version="v2", left_out=1),
    )
    with SnapshotTaker(Roots(), read_support(Roots()), ("conntrack", "cpu_quota")) as taker:
        assert list(taker.take().samples) == ["conntrack", "addresses", "workloads", "cpu_quota"]
        assert taker.costs["cpu_quota"].truncated
        answers["conntrack"] = Conntrack(loaded=False)
        assert list(taker.take().samples) == ["conntrack"]
    assert asked == [cgroups]


def test_what_is_not_named_is_not_taken(answers: dict[str, Any], taker: SnapshotTaker) -> None:
    assert taker.take(("tcp_memory", "kernel_log")).samples == {}
    assert answers["asked"] == []


def test_every_collector_has_one_name_and_the_names_of_the_samples_are_theirs() -> None:
    tags = {kind.__struct_config__.tag for kind in (Conntrack, Addresses, Connections, Stalls, Workloads, CpuQuotas)}
    assert tags <= set(COLLECTORS)
    assert len(set(COLLECTORS)) == len(COLLECTORS)
