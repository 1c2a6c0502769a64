"""model.flow_owners: from a source address to whoever opened the connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.addresses import IPVS_DEVICE, Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.sockets import AcceptQueue, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
LATER = BEGIN + timedelta(minutes=5)
NODE, WEB, TOOLS, OTHER = 1, 2, 3, 4
SERVICE, ENDPOINTS = Endpoint("10.96.0.1", 80), [Endpoint(f"10.2.0.{n}", 8080) for n in (7, 8, 9)]
POD = Workload(pod=Pod(namespace="shop", name="web-0"), netns=WEB)
PROGRAM = Workload(process=Process(pid=90, comm="proxy"), netns=TOOLS)
ADDRESSES = Addresses(by_netns={
    NODE: (DeviceAddress(address="10.0.0.1", prefix_length=24, device="eth0"),
           DeviceAddress(address="10.96.0.1", prefix_length=32, device=IPVS_DEVICE, kind="dummy")),
    WEB: (DeviceAddress(address="10.1.0.2", prefix_length=24, device="eth0", kind="veth"),),
    TOOLS: (DeviceAddress(address="10.1.0.3", prefix_length=24, device="eth0", kind="veth"),
            DeviceAddress(address="172.17.0.2", prefix_length=24, device="eth1", kind="veth")),
    OTHER: (DeviceAddress(address="172.17.0.2", prefix_length=24, device="eth0", kind="veth"),
            DeviceAddress(address="10.1.0.4", prefix_length=24, device="eth1", kind="veth")),
})  # fmt: skip
WORKLOADS = Workloads(
    by_pid={
        10: Workload(process=Process(pid=10, comm="kubelet"), unit="kubelet.service", netns=NODE),
        11: Workload(process=Process(pid=11, comm="a"), container=Container(id="aa", cgroup="/a"), netns=NODE),
        12: Workload(process=Process(pid=12, comm="b"), container=Container(id="bb", cgroup="/b"), netns=NODE),
        13: Workload(process=Process(pid=13, comm="b"), container=Container(id="bb", cgroup="/b"), netns=NODE),
    },
    by_netns={WEB: POD},
    sole_by_netns={TOOLS: PROGRAM},
)
A, B = f"container aa in {NODE}", f"container bb in {NODE}"


def flow(source: str = "10.0.0.1", entries: int = 5, to: Endpoint | None = SERVICE, **changed: Any) -> FlowGroup:
    given = {"family": 4, "protocol": "tcp", "state": "established", "replied": True, "assured": True} | changed
    return FlowGroup(source=source, destination=to, entries=entries, **given)


def held(
    pid: int | None, sockets: int, to: Endpoint = SERVICE, state: str = "established", **changed: Any
) -> SocketGroup:
    given = {"netns": NODE, "protocol": "tcp", "role": "initiated", "holding": "descriptor"} | changed
    return SocketGroup(owner_pid=pid, state=state, endpoint=to, sockets=sockets, **given)


def reading(*groups: SocketGroup, **more: Any) -> Sockets:
    return Sockets(method="bpf", groups=groups, **more)


def owners(
    *readings: Sockets, groups: tuple[FlowGroup, ...] = (), addresses: Addresses | None = ADDRESSES
) -> FlowOwners:
    return FlowOwners(Conntrack(loaded=True, netns=NODE, groups=groups), addresses, readings, WORKLOADS)


def split(group: FlowGroup, *readings: Sockets, addresses: Addresses | None = ADDRESSES) -> dict[str, int]:
    found = owners(*readings, groups=(group,), addresses=addresses).split(group)
    return {owner.key: n for owner, n in found}


def test_connects_that_nobody_answers_are_no_kept_connections() -> None:
    waiting = [reading(held(11, 16, state="syn-sent")), reading(held(11, 16, state="syn-sent"))]
    ((owner, n),) = owners(*waiting).split(flow(state="time-wait"))
    assert (owner.key, owner.inferred, n) == (A, True, 5)


def total(groups: tuple[FlowGroup, ...], *readings: Sockets) -> dict[str, int]:
    found: dict[str, int] = {}
    all_owners = owners(*readings, groups=groups)
    for group in groups:
        for owner, n in all_owners.split(group):
            found[owner.key] = found.get(owner.key, 0) + n
    return found


def test_sockets_are_held_by_the_pod_of_their_namespace_else_by_their_program() -> None:
    groups = [held(77, 1, netns=WEB), held(90, 1, netns=TOOLS), held(12, 1), held(None, 1)]
    all_owners = owners(reading(*groups))
    found = [all_owners.holder(g) for g in groups]
    assert [o.key if o else None for o in found] == [f"netns {WEB}", f"pid 90 in {TOOLS}", B, None]
    assert found[0] is not None
    assert (found[0].workload, found[0].netns) == (POD, WEB)


def test_an_address_of_one_pods_namespace_is_the_pods_without_any_socket() -> None:
    ((owner, n),) = owners().split(flow("10.1.0.2"))
    assert (owner.kind, owner.workload, owner.netns, n) == ("workload", POD, WEB, 5)


def test_an_address_of_a_namespace_with_one_program_is_that_programs() -> None:
    ((owner, _),) = owners().split(flow("10.1.0.3"))
    assert (owner.kind, owner.workload, owner.key) == ("workload", PROGRAM, f"netns {TOOLS}")


def test_a_namespace_of_which_nobody_knows_who_is_in_it_is_named_by_number() -> None:
    ((owner, _),) = owners().split(flow("10.1.0.4"))
    assert (owner.kind, owner.key, owner.address, owner.netns) == ("netns", f"netns {OTHER}", "10.1.0.4", OTHER)


def test_an_address_that_nobody_here_has_is_elsewhere_and_unread_if_nobody_looked() -> None:
    assert split(flow("10.9.9.9")) == {"remote 10.9.9.9": 5}
    assert split(flow("10.0.0.1"), addresses=None) == {"unread 10.0.0.1": 5}


def test_an_address_in_two_namespaces_is_ambiguous_unless_only_one_has_such_sockets() -> None:
    group = flow("172.17.0.2")
    assert split(group) == {"ambiguous 172.17.0.2": 5}
    assert split(group, reading(held(10, 1, netns=TOOLS))) == {f"netns {TOOLS}": 5}
    both = reading(held(10, 1, netns=TOOLS), held(10, 1, netns=OTHER))
    assert split(group, both) == {"ambiguous 172.17.0.2": 5}


def test_an_address_leads_to_a_namespace_only_if_one_alone_has_it() -> None:
    found = [owners().namespace_of(address) for address in ("10.1.0.2", "172.17.0.2", "10.9.9.9")]
    assert found == [WEB, None, None]


def test_loopback_is_the_nodes_own_although_every_namespace_has_it() -> None:
    assert split(flow("127.0.0.1")) == {f"node {NODE}": 5}
    assert split(flow("::1", family=6)) == {f"node {NODE}": 5}


def test_a_services_address_on_a_device_of_the_node_is_nobodys() -> None:
    assert split(flow("10.96.0.1")) == {"remote 10.96.0.1": 5}


def test_the_nodes_own_address_is_split_by_sockets_and_the_rest_stays_shared() -> None:
    found = owners(reading(held(11, 2), held(12, 1), held(13, 1)), groups=(group := flow(entries=7),)).split(group)
    assert [(owner.key, owner.kind, n) for owner, n in found] == [
        (A, "workload", 2), (B, "workload", 2), (f"node {NODE}", "node", 3),
    ]  # fmt: skip
    assert [w.container.id for w in found[-1][0].candidates if w.container] == ["aa", "bb"]


def test_no_more_entries_are_given_than_there_are() -> None:
    assert split(flow(entries=3), reading(held(11, 2), held(12, 40))) == {A: 2, B: 1}


def test_each_socket_speaks_for_one_entry_however_many_endpoints_a_service_has() -> None:
    """Else the owner whose key comes first would have all of them."""
    groups = tuple(flow(entries=2, answered_by=one) for one in ENDPOINTS)
    assert total(groups, reading(held(11, 3), held(12, 3))) == {A: 3, B: 3}
    assert total(groups, reading(held(11, 1), held(12, 3))) == {A: 1, B: 3, f"node {NODE}": 2}


def test_unanswered_entries_are_of_whoever_has_unanswered_sockets() -> None:
    groups = (flow(entries=3), flow(entries=4, state="syn-sent", replied=False, assured=False))
    sockets = reading(held(11, 3), held(12, 4, state="syn-sent"))
    all_owners = owners(sockets, groups=groups)
    assert [[(o.key, n) for o, n in all_owners.split(g)] for g in groups] == [[(A, 3)], [(B, 4)]]


def test_a_connection_answered_between_the_two_readings_is_still_its_owners() -> None:
    assert split(flow(entries=2, state="syn-sent"), reading(held(11, 2))) == {A: 2}


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    groups = tuple(flow(entries=2, answered_by=one) for one in ENDPOINTS)
    sockets = reading(held(11, 3), held(12, 3))
    forth, back = owners(sockets, groups=groups), owners(sockets, groups=groups)
    assert {g: forth.split(g) for g in groups} == {g: back.split(g) for g in reversed(groups)}


def test_sockets_of_another_namespace_protocol_or_end_say_nothing() -> None:
    for other in (
        held(11, 5, netns=OTHER), held(11, 5, protocol="udp"), held(11, 5, role="accepted"), held(None, 5),
        held(11, 5, to=ENDPOINTS[0]),
    ):  # fmt: skip
        assert split(flow(), reading(other)) == {f"node {NODE}": 5}


def test_entries_that_outlive_their_socket_are_of_the_only_one_who_came_and_went_there() -> None:
    group = flow(state="time-wait")
    moving = reading(held(11, 1)), reading(held(11, 2))
    ((owner, n),) = owners(*moving, groups=(group,)).split(group)
    assert (owner.key, owner.inferred, n) == (A, True, 5)


def test_entries_that_outlive_their_socket_stay_shared_where_two_or_only_lasting_sockets_were_seen() -> None:
    group = flow(state="time-wait")
    assert split(group, reading(held(11, 1)), reading(held(12, 1))) == {f"node {NODE}": 5}
    assert split(group, reading(held(11, 1)), reading(held(11, 1))) == {f"node {NODE}": 5}
    assert split(group, reading(held(11, 1))) == {f"node {NODE}": 5}


def test_open_sockets_are_those_of_the_newest_reading() -> None:
    group = flow("10.1.0.2")
    all_owners = owners(
        reading(held(11, 9)),
        reading(
            held(11, 2), held(None, 3, netns=WEB), held(20, 4, netns=WEB, role="accepted"), held(11, 7, role="listener")
        ),
        groups=(group, flow()),
    )
    ((pod, _),), ((process, _), *_) = all_owners.split(group), all_owners.split(flow())
    assert (all_owners.open_sockets(pod), all_owners.opened_sockets(pod)) == (7, 3)
    assert (all_owners.open_to(pod, SERVICE), all_owners.open_to(pod, ENDPOINTS[0])) == (3, 0)
    assert all_owners.open_sockets(process) == 2
    ((elsewhere, _),) = all_owners.split(flow("10.9.9.9"))
    assert all_owners.open_sockets(elsewhere) is None


def test_sockets_that_nobody_has_answered_yet_are_counted_by_themselves() -> None:
    pod_flow = flow("10.1.0.2")
    waiting = held(None, 3, netns=WEB, state="syn-sent"), held(None, 2, netns=WEB), held(11, 4, state="syn-sent")
    all_owners = owners(reading(*waiting), groups=(pod_flow,))
    ((pod, _),) = all_owners.split(pod_flow)
    assert (all_owners.opening_sockets(pod), all_owners.opened_sockets(pod)) == (3, 2)
    ((elsewhere, _),) = all_owners.split(flow("10.9.9.9"))
    assert all_owners.opening_sockets(elsewhere) is None


def test_who_answers_is_whoever_alone_has_the_address_or_listens_there() -> None:
    listening = AcceptQueue(owner_pid=11, netns=NODE, local=Endpoint("10.0.0.1", 80), waiting=0, limit=9)
    all_owners = owners(reading(accept_queues=(listening,)))
    assert all_owners.answerer("10.1.0.2") == POD
    assert all_owners.answerer("10.0.0.1") is None
    assert all_owners.answering(Endpoint("10.1.0.2", 1)) == f"netns {WEB}"
    assert all_owners.answering(Endpoint("10.0.0.1", 80)) == A
    assert all_owners.answering(Endpoint("10.0.0.1", 81)) is None
    assert all_owners.answering(Endpoint("172.17.0.2", 80)) is None
    assert (all_owners.is_local("10.0.0.1"), all_owners.is_local("127.0.0.9"), all_owners.is_local("9.9.9.9")) == (
        True, True, False,
    )  # fmt: skip


SOURCES = st.sampled_from(["10.0.0.1", "10.1.0.2", "10.1.0.4", "172.17.0.2", "127.0.0.1", "9.9.9.9", "", "no address"])
TARGETS = st.sampled_from([SERVICE, *ENDPOINTS])
FLOWS = st.builds(
    flow, SOURCES, st.integers(0, 20), st.none() | TARGETS, answered_by=st.none() | TARGETS,
    state=st.sampled_from(["none", "syn-sent", "established", "time-wait", "a state of our own"]),
    protocol=st.sampled_from(["tcp", "udp"]),
)  # fmt: skip
HELD = st.builds(
    held, st.none() | st.sampled_from([10, 11, 12, 13, 99]), st.integers(0, 20), TARGETS,
    state=st.sampled_from(["syn-sent", "established"]), netns=st.none() | st.sampled_from([NODE, WEB, OTHER]),
)  # fmt: skip


@given(st.lists(FLOWS, max_size=8), st.lists(st.lists(HELD, max_size=6), max_size=3))
def test_every_entry_has_exactly_one_owner_and_every_socket_at_most_one_entry(
    groups: list[FlowGroup], readings: list[list[SocketGroup]]
) -> None:
    distinct = tuple(dict.fromkeys(groups))
    samples = [reading(*found) for found in readings]
    all_owners = owners(*samples, groups=distinct)
    given_to: dict[str, int] = {}
    for group in distinct:
        parts = all_owners.split(group)
        assert sum(n for _, n in parts) == group.entries
        assert len({owner.key for owner, _ in parts}) == len(parts)
        assert all(owner.workload is not None or owner.kind != "workload" for owner, _ in parts)
        for owner, n in parts:
            if owner.kind == "workload" and not owner.inferred and " in " in owner.key:
                given_to[owner.key] = given_to.get(owner.key, 0) + n
    for key, n in given_to.items():
        assert n <= sum(g.sockets for g in readings[-1] if all_owners._key_of(g.owner_pid or 0, g.netns or 0) == key)


INNER = st.lists(
    st.builds(
        flow, SOURCES, st.sampled_from([0, 1, 3, 1000]), st.none() | TARGETS, answered_by=st.none() | TARGETS,
        source_as=st.sampled_from([None, "10.1.0.2", "10.1.0.4"]),
    ),
    max_size=6,
).map(tuple)  # fmt: skip


@given(FLOWS, st.lists(HELD, max_size=6), st.dictionaries(st.sampled_from([WEB, TOOLS, OTHER]), INNER))
def test_entries_that_were_opened_for_others_have_one_owner_each_too(
    group: FlowGroup, held: list[SocketGroup], inner: dict[int, tuple[FlowGroup, ...]]
) -> None:
    conntrack = Conntrack(loaded=True, netns=NODE, groups=(group,), inner=inner, counts={TOOLS: 9, OTHER: 9})
    parts = FlowOwners(conntrack, ADDRESSES, [reading(*held)], WORKLOADS).split(group)
    assert sum(n for _, n in parts) == group.entries
    assert len({owner.key for owner, _ in parts}) == len(parts)
    assert all(owner.workload is not None or owner.kind != "workload" for owner, _ in parts)


def test_who_listens_on_a_port_is_told_of_a_program_and_of_a_whole_namespace() -> None:
    def listening(pid: int | None, netns: int) -> AcceptQueue:
        return AcceptQueue(owner_pid=pid, netns=netns, local=Endpoint("::", 53), waiting=0, limit=9)

    queues = (listening(11, NODE), listening(None, WEB))
    all_owners = owners(reading(accept_queues=queues))
    program = FlowOwner(key=A, kind="workload", netns=NODE)
    pod = FlowOwner(key=f"netns {WEB}", kind="workload", workload=POD, netns=WEB)
    assert all_owners.listens(program, 53)
    assert all_owners.listens(pod, 53)
    assert not all_owners.listens(program, 54)
    assert not all_owners.listens(FlowOwner(key=B, kind="workload", netns=NODE), 53)
    assert not owners(reading(accept_queues=queues, listeners_cut=True)).listens(program, 53)


def test_a_process_that_inherited_a_pid_is_not_the_one_whose_sockets_were_seen() -> None:
    gone = Workloads(by_pid={77: Workload(process=Process(pid=77, comm="crawler", started=BEGIN), netns=NODE)})
    heir = Workloads(by_pid={77: Workload(process=Process(pid=77, comm="innocent", started=LATER), netns=NODE)})
    group = flow(state="time-wait")
    all_owners = FlowOwners(
        Conntrack(loaded=True, netns=NODE, groups=(group,)), ADDRESSES, [reading(held(77, 3)), reading(held(77, 4)),
        reading()], heir, [gone, gone, heir],
    )  # fmt: skip
    ((owner, _),) = all_owners.split(group)
    assert owner.workload is not None
    assert owner.workload.process is not None
    assert owner.workload.process.comm == "crawler"
