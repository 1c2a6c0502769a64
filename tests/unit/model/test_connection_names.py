"""Who is at an end, where numbers and addresses are given again while it is watched: right, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.connection_names import NO_PID, End, Names
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

from .endings import BOOT, CLIENT, SERVER, accepted, ended, recording

BEGIN = 1000.0
"""Of these recordings, on the boot clock; snapshots are 2 s apart."""
ANY = "0.0.0.0"
CURL = {"owner_pid": 7, "comm": "curl", "process_started_seconds": 1001.0}


def process(pid: int, comm: str = "app", started: float | None = 10.0, **where: str | int | None) -> Workload:
    """where: exe, container, unit, netns."""
    exe, container, unit = (where.pop(name, None) for name in ("exe", "container", "unit"))
    begun = BOOT + timedelta(seconds=started) if started is not None else None
    return Workload(
        process=Process(pid=pid, comm=comm, exe=str(exe) if exe else None, started=begun),
        container=Container(id=str(container), cgroup="/c") if container else None,
        unit=str(unit) if unit else None,
        netns=int(where.get("netns") or 1),
    )


def tenant(name: str, container: str = "c") -> Workload:
    return Workload(pod=Pod(namespace="shop", name=name, uid=name), container=Container(id=container, cgroup="/c"))


def tenants(name: str | None, *, netns: int = 2, since: float | None = 10.0, container: str = "c") -> Workloads:
    """One namespace, and who has it for itself."""
    if name is None:
        return Workloads()
    began = {netns: BOOT + timedelta(seconds=since)} if since is not None else {}
    return Workloads(by_netns={netns: tenant(name, container)}, since_by_netns=began)


def seen(*samples: AnySample | None, groups: Sequence[ConnectionGroup] = (), **also: AnySample) -> Recording:
    """One of them at each moment. groups: at each. also: the same at each."""
    empty = recording([groups] * len(samples), **also)
    return replace(
        empty,
        snapshots=tuple(
            replace(s, samples={**s.samples, **({type(x).__name__.lower(): x} if x is not None else {})})
            for s, x in zip(empty.snapshots, samples, strict=True)
        ),
    )


def listening(pid: int, at: Endpoint = SERVER) -> AcceptQueue:
    return AcceptQueue(netns=1, local=at, owner_pid=pid, waiting=0, limit=9)


def served(*queues: AcceptQueue, by_pid: dict[int, Workload], groups: Sequence[ConnectionGroup] = ()) -> Names:
    sockets = Sockets(method="bpf", groups=(), accept_queues=queues)
    return Names(recording([groups, groups], sockets=sockets, workloads=Workloads(by_pid=by_pid), addresses=HERE))


def has(address: str, netns: int = 1) -> Addresses:
    return Addresses(by_netns={netns: (DeviceAddress(address=address, prefix_length=24, device="eth0"),)})


HERE = has("10.0.0.1")


def pod_of(end: End) -> str | None:
    return end.workload.pod.name if end.workload is not None and end.workload.pod is not None else None


def pid_of(end: End) -> int | None:
    return end.workload.process.pid if end.workload is not None and end.workload.process is not None else None


def comm_of(end: End) -> str | None:
    return end.workload.process.comm if end.workload is not None and end.workload.process is not None else None


@pytest.mark.parametrize(
    ("began", "last", "expected"),
    [(1003.0, "old", "old"), (1001.0, "new", "old"), (1003.8, "new", "new"), (9.0, "old", None)],
    ids=["stayed", "gone since", "of its successor", "older than the pod"],
)
def test_a_process_that_is_gone_is_of_the_pod_that_had_its_namespace_then(
    began: float, last: str, expected: str | None
) -> None:
    after = tenants(last, since=10.0 if last == "old" else 1003.5)
    names = Names(seen(tenants("old"), tenants("old"), after))
    found = names.client_of(ended(**{**CURL, "process_started_seconds": began}))
    assert (pod_of(found), comm_of(found)) == (expected, "curl")


def test_between_two_pods_that_had_a_namespace_nobody_is_known_to_have_it() -> None:
    names = Names(seen(tenants("old"), None, tenants("new", since=1003.5)))
    assert pod_of(names.client_of(ended(**CURL))) is None


def test_a_name_that_nobody_looked_up_goes_on_to_the_pod() -> None:
    by_name = Workload(process=Process(pid=7, comm="curl"), netns=2)
    names = Names(recording([[], []], workloads=replace(tenants("web"), by_pid={7: by_name})))
    assert pod_of(names.client_of(ended(**CURL))) == "web"


def test_of_a_pod_whose_containers_changed_none_is_named() -> None:
    names = Names(seen(tenants("web", container="one"), tenants("web", container="two")))
    found = names.client_of(ended(**CURL)).workload
    assert found is not None
    assert (found.pod is not None, found.container) == (True, None)


def test_who_took_over_a_namespace_has_not_accepted_what_came_before() -> None:
    group = accepted(owner_pid=None, netns=2)
    last = Names(seen(tenants("old"), tenants("new", since=1001.5)))
    assert last.server_of([group], [SERVER], None).workload is None
    late = Names(seen(None, tenants("new", since=1001.5)))
    assert late.server_of([group], [SERVER], None).workload is None
    there = Names(seen(None, tenants("web", since=BEGIN)))
    assert pod_of(there.server_of([group], [SERVER], None)) == "web"
    gone = Names(seen(tenants("web"), Workloads()))
    assert gone.server_of([group], [SERVER], None).workload is None


def test_an_address_that_came_or_moved_meanwhile_is_of_nobody() -> None:
    pods = tenants("web", netns=1)
    for first, local in ((HERE, True), (has("10.0.0.9"), None), (has("10.0.0.1", netns=3), True)):
        names = Names(seen(first, HERE, workloads=pods))
        found = names.server_of([], [SERVER], 2)
        assert (pod_of(found), found.local) == ("web" if first == HERE else None, local)
    unread = replace(has("10.0.0.9"), netns_unread=1)
    assert pod_of(Names(seen(unread, HERE, workloads=pods)).server_of([], [SERVER], 2)) == "web"
    assert Names(seen(HERE, HERE)).server_of([], [Endpoint("10.0.0.7", 80)], 2).local is False


def test_who_listens_now_is_not_named_for_another_program() -> None:
    """Nor for groups that only the kernel met, if it began after them."""
    alpha = accepted(owner_pid=80, comm="alpha", process_started_seconds=10.0)
    kernel = accepted(owner_pid=None, ending="reset-received")
    by_pid = {80: process(80, "alpha"), 99: process(99, "beta", started=1001.0)}
    names = served(listening(99), by_pid=by_pid)
    assert comm_of(names.server_of([alpha, kernel], [SERVER], None)) == "alpha"
    assert names.server_of([kernel], [SERVER], None).workload is None
    names = served(listening(80), by_pid=by_pid)
    assert comm_of(names.server_of([kernel], [SERVER], None)) == "alpha"
    for comm, named in (("alpha", "alpha"), ("gamma", None)):
        merged = accepted(owner_pid=None, comm=comm, client=None)
        assert comm_of(names.server_of([merged], [SERVER], None)) == named


@pytest.mark.parametrize(
    ("master", "named"),
    [
        (process(10, "nginx"), 10),
        (process(10, "nginx", started=50.0), NO_PID),
        (process(10, "caddy"), NO_PID),
        (process(10, "nginx", container="c"), NO_PID),
    ],
    ids=["their parent", "younger than they", "another program", "of a container"],
)
def test_of_workers_that_are_gone_only_their_parent_is_named(master: Workload, named: int) -> None:
    workers = [accepted(owner_pid=pid, comm="nginx", process_started_seconds=float(pid)) for pid in (20, 21)]
    names = served(listening(10), by_pid={10: master}, groups=workers)
    assert pid_of(names.server_of(workers, [SERVER], None)) == named


def test_two_containers_that_share_a_port_of_the_node_are_nobody() -> None:
    same = {"comm": "nginx", "exe": "/usr/sbin/nginx"}
    groups = [accepted(owner_pid=pid, comm="nginx", process_started_seconds=10.0) for pid in (80, 81)]
    two = {pid: process(pid, container=str(pid), **same) for pid in (80, 81)}
    one = {pid: process(pid, container="c", **same) for pid in (80, 81)}
    queues = [listening(80), listening(81)]
    found = served(*queues, by_pid=two).server_of(groups, [SERVER], None)
    assert found == End(key="unknown", local=True, netns=groups[0].netns)
    assert served(*queues, by_pid=one).server_of(groups, [SERVER], None).key == "container c"


@pytest.mark.parametrize(
    ("at", "named"),
    [("127.0.0.1", None), ("10.0.0.1", 8), (ANY, 8), ("::", 8), (None, 8), ("10.0.0.3", None)],
)
def test_who_listens_elsewhere_on_the_same_port_does_not_answer(at: str | None, named: int | None) -> None:
    names = served(listening(8, Endpoint(at, 80)), by_pid={8: process(8)})
    assert pid_of(names.server_of([], [SERVER], 2)) == named
    assert pid_of(names.server_of([accepted(owner_pid=None)], [SERVER], None)) == named


def test_who_listens_at_the_very_address_takes_it_from_who_listens_at_all() -> None:
    queues = [listening(8, Endpoint(ANY, 80)), listening(9)]
    names = served(*queues, by_pid={8: process(8, "all"), 9: process(9, "this")})
    assert comm_of(names.server_of([], [SERVER], 2)) == "this"
    assert comm_of(names.server_of([], [Endpoint("127.0.0.1", 80)], 1)) == "all"


@pytest.mark.parametrize("ending", ["closed-by-peer", "reset-received"])
def test_what_a_server_here_did_not_end_is_answered_by_somebody_else(ending: str) -> None:
    names = served(listening(8), by_pid={8: process(8, "asked")})
    assert names.server_of([], [SERVER], 2, [ended(ending=ending)]) == End(key="unknown")
    assert comm_of(names.server_of([], [SERVER], 2, [ended(ending="refused", state="syn-sent")])) == "asked"
    met = accepted(owner_pid=8, comm="asked", process_started_seconds=10.0)
    assert comm_of(names.server_of([met], [SERVER], 2, [ended(ending=ending)])) == "asked"
    far = names.server_of([], [Endpoint("198.51.100.7", 80)], 2, [ended(ending=ending)])
    assert (far.address, far.local) == ("198.51.100.7", False)


def test_programs_that_are_gone_and_share_a_name_have_no_number() -> None:
    groups = [ended(**{**CURL, "owner_pid": pid}) for pid in (7, 9)]
    found = {Names(recording([groups, groups])).client_of(g) for g in groups}
    (end,) = found
    assert (end.several, pid_of(end), comm_of(end)) == (True, NO_PID, "curl")
    alone = Names(recording([groups[:1], groups[:1]])).client_of(groups[0])
    assert (alone.several, pid_of(alone)) == (False, 7)
    merged = [groups[0], ended(owner_pid=None, comm="curl", client=None)]
    assert Names(recording([merged, merged])).client_of(groups[0]).several
    known = Workloads(by_pid={9: process(9, "curl", started=1001.0, netns=2)})
    assert not Names(recording([groups, groups], workloads=known)).client_of(groups[0]).several


def test_a_collector_that_was_started_anew_had_its_own_processes() -> None:
    each = [ended(**{**CURL, "owner_pid": pid}) for pid in (7, 9)]
    found = recording([each[:1], each[1:]])
    again = replace(found.snapshots[1].samples["connections"], started_seconds=1001.0)
    second = replace(found.snapshots[1], samples={"connections": again})
    assert Names(replace(found, snapshots=(found.snapshots[0], second))).client_of(each[0]).several


def test_a_number_that_was_given_again_in_another_namespace_is_another_process() -> None:
    """In a recording that has no start of it, but its container."""
    stranger = Workload(process=Process(pid=7, comm="curl"), container=Container(id="x", cgroup="/c"), netns=1)
    own = replace(stranger, netns=2)
    for workload, key in ((stranger, "program curl in 2"), (own, "container x")):
        names = Names(recording([[], []], workloads=Workloads(by_pid={7: workload})))
        assert names.client_of(ended(**CURL)).key == key


@pytest.mark.parametrize(("comm", "expected"), [("runc:[2:INIT]", "runc:[2:INIT]"), ("app", "app"), ("worker", "app")])
def test_after_an_exec_it_is_the_program_of_the_name_that_was_met_else_the_newest(comm: str, expected: str) -> None:
    before, after = (Workloads(by_pid={7: process(7, name)}) for name in ("runc:[2:INIT]", "app"))
    group = ended(owner_pid=7, comm=comm, process_started_seconds=10.0)
    assert comm_of(Names(seen(before, after)).client_of(group)) == expected


@pytest.mark.parametrize("seen_at", [0, 2], ids=["before", "after"])
def test_a_clock_that_was_set_meanwhile_changes_no_name(seen_at: int) -> None:
    """What /proc says of a start follows the clock."""
    set_by = timedelta(hours=3)
    shown = 10.0 + (set_by.total_seconds() if seen_at else 0)
    by_pid = {7: process(7, started=shown, unit="shop.service", netns=2)}
    found = seen(*(Workloads(by_pid=by_pid if n == seen_at else {}) for n in range(3)))
    later = [replace(s, at=replace(s.at, wall=s.at.wall + set_by)) for s in found.snapshots[1:]]
    names = Names(replace(found, snapshots=(found.snapshots[0], *later)))
    group = ended(owner_pid=7, comm="app", process_started_seconds=10.0)
    assert names.client_of(group).key == "unit shop.service None"


def test_a_client_is_named_by_an_address_that_it_had_all_the_time() -> None:
    group = accepted(owner_pid=8)
    pods = tenants("web")
    assert pod_of(Names(seen(has(CLIENT, 2), has(CLIENT, 2), workloads=pods)).client_of(group)) == "web"
    late = Names(seen(has("10.0.0.9"), has(CLIENT, 2), workloads=pods)).client_of(group)
    assert (late.key, late.workload, late.local) == (f"address {CLIENT}", None, None)
