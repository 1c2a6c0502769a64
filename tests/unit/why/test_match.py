"""What a finding has to do with an error: by endpoint, by owner, by the whole node, or nothing at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from whodunnet.model.finding import Finding, Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process, Workload
from whodunnet.why.flow import Flow, Place, same_owner
from whodunnet.why.forms import Kind, kinds
from whodunnet.why.match import Explanation, Relation, explain, relation_of
from whodunnet.why.sides import Side

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER, OTHER = Side(address="10.244.0.6", port=8000), Side(address="10.244.0.7", port=8000)
KIND = Kind(means="", flow=("resets", "connect-refused"), owner=("socket-leak",), node=("tcp-memory",), next=())
WEB = Workload(process=Process(pid=7, comm="web"), pod=Pod(namespace="shop", name="web", uid="u1"))
APP = Workload(process=Process(pid=8, comm="app"), pod=Pod(namespace="shop", name="app", uid="u2"))


def finding(rule: str, *parties: Party, **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "id": f"{rule}:1", "rule": rule, "reason": "R", "severity": "warning", "claim": "holds", "confidence": "proven",
        "summary": "s", "title": "t", "last_seen": NOW, "parties": parties, "evidence": (), **other,
    }  # fmt: skip
    return Finding(**fields)


def peer(side: Side, **other: Any) -> Party:
    return Party(role="peer", endpoint=Endpoint(side.address, side.port), **other)


def of(workload: Workload, role: Any = "victim") -> Party:
    return Party(role=role, process=workload.process, container=workload.container, pod=workload.pod)


def flow(to: Side | None = SERVER, source: Side | None = None, **other: Any) -> Flow:
    """owners: of the destination first, then of the source."""
    sides = tuple(side for side in (to, source) if side is not None)
    places = {"destination": Place(side=to) if to else None, "source": Place(side=source) if source else None}
    ends = frozenset(end for side in sides for end in side.endpoints if end.port is not None)
    addresses = frozenset(a for side in sides for a in side.addresses)
    return Flow(**{**places, "sides": sides, "endpoints": ends, "addresses": addresses, **other})


@pytest.mark.parametrize(
    ("parties", "asked", "relation"),
    [
        ((peer(SERVER),), flow(), "endpoint"),
        ((peer(OTHER),), flow(), None),
        ((peer(Side(address=SERVER.address, port=81)),), flow(), None),
        ((peer(SERVER),), flow(Side(address=SERVER.address)), "address"),
        ((peer(SERVER),), flow(Side(name="app.example", port=8000)), "port"),
        ((peer(SERVER),), flow(Side(name="app.example", port=81)), None),
        ((peer(Side(address="127.0.0.1", port=9)),), flow(Side(address="127.0.0.1", port=9)), "loopback"),
        ((peer(Side(address="127.0.0.1", port=9)),), flow(Side(name="localhost", port=9)), "loopback"),
        ((peer(SERVER),), flow(None), "kind"),
        ((peer(Side(address=SERVER.address)),), flow(), "address"),
        ((of(APP),), flow(owners=(APP,)), "owner"),
        ((of(WEB),), flow(owners=(APP,)), None),
        ((of(APP), peer(OTHER)), flow(owners=(APP,), source_owners=(APP,)), None),
    ],
)
def test_a_finding_about_connections_explains_those_of_its_own_ends(
    parties: tuple[Party, ...], asked: Flow, relation: Relation | None
) -> None:
    assert relation_of(finding("resets", *parties), KIND, asked) == relation


def test_an_end_behind_a_service_is_the_same_end() -> None:
    through = flow(Side(address="10.96.0.1", port=80), endpoints=frozenset({Endpoint("10.244.0.6", 8000)}))
    assert relation_of(finding("resets", peer(SERVER)), KIND, through) == "endpoint"


def test_a_finding_about_an_owner_explains_what_that_one_begins() -> None:
    about_other_ends = finding("socket-leak", of(WEB, "culprit"), peer(OTHER))
    assert relation_of(about_other_ends, KIND, flow(owners=(APP, WEB), source_owners=(WEB,))) == "owner"
    assert relation_of(about_other_ends, KIND, flow(owners=(WEB, APP), source_owners=(APP,))) is None


def test_what_befalls_the_node_explains_every_flow_that_touches_it() -> None:
    memory = finding("tcp-memory")
    here, gone = Place(side=SERVER, here=True), Place(side=OTHER, here=False)
    assert relation_of(memory, KIND, flow()) == "node"
    assert relation_of(memory, KIND, Flow(destination=here, source=gone)) == "node"
    assert relation_of(memory, KIND, Flow(destination=gone)) == "node"
    assert relation_of(memory, KIND, Flow(destination=gone, source=gone)) is None
    assert relation_of(memory, KIND, Flow(pod_is_absent=True)) is None


@pytest.mark.parametrize(
    ("ends", "relation"),
    [
        ({"destination": Place(side=SERVER, here=True, netns=5)}, "owner"),
        ({"destination": Place(side=SERVER, here=True, netns=6)}, None),
        ({"destination": Place(side=SERVER, here=False)}, None),
        ({"destination": Place(side=SERVER, here=False), "source": Place(side=OTHER, here=True, netns=5)}, "owner"),
        ({"destination": Place(side=SERVER)}, "kind"),
        ({"pod": WEB, "owners": (WEB,)}, None),
        ({"pod": APP, "owners": (APP,)}, "owner"),
        ({}, "kind"),
    ],
)
def test_the_device_of_one_pod_explains_what_that_pod_meets_and_a_device_of_the_node_everything(
    ends: dict[str, Any], relation: Relation | None
) -> None:
    timeout, asked = kinds().kinds["connect-timeout"], Flow(**ends)
    of_pod = finding("nic-drops", Party(role="victim", pod=APP.pod, netns=5, device="eth0"), shape="queue-full")
    of_node = finding("nic-drops", Party(role="victim", node="n1", device="eth0"), shape="ring-full")
    assert relation_of(of_pod, timeout, asked) == relation
    assert relation_of(of_node, timeout, asked) == "node"


def test_whoever_has_used_up_its_quota_of_cpu_time_explains_that_it_answers_late() -> None:
    throttled = finding("cpu-throttled", of(APP), shape="data-waits")
    assert relation_of(throttled, kinds().kinds["read-timeout"], flow(owners=(APP,))) == "owner"
    assert relation_of(throttled, kinds().kinds["connect-timeout"], flow(owners=(APP,))) is None
    assert relation_of(throttled, kinds().kinds["read-timeout"], flow(owners=(WEB,))) is None


@pytest.mark.parametrize("kind", ["connect-failed", "connect-timeout", "read-timeout", "timed-out", "tls-timeout"])
def test_whoever_has_no_descriptor_left_explains_that_it_does_not_answer(kind: str) -> None:
    full, near = (finding("descriptor-limit", of(APP, "holder"), shape=shape) for shape in ("exhausted", "near"))
    assert relation_of(full, kinds().kinds[kind], flow(owners=(APP,))) == "owner"
    assert relation_of(near, kinds().kinds[kind], flow(owners=(APP,))) is None
    assert relation_of(full, kinds().kinds[kind], flow(owners=(WEB,))) is None


def test_whoever_listens_on_a_loopback_may_be_meant() -> None:
    here = Side(address="127.0.0.1", port=8000)
    full = finding("descriptor-limit", of(APP, "holder"), shape="exhausted")
    assert relation_of(full, kinds().kinds["timed-out"], flow(here, listeners=(APP,))) == "loopback"
    assert relation_of(full, kinds().kinds["timed-out"], flow(here, listeners=(WEB,))) is None
    (found,) = explain(kinds().kinds["timed-out"], flow(here, listeners=(APP,)), [full])
    assert not found.sure


def test_a_rule_that_makes_no_such_error_explains_none() -> None:
    assert relation_of(finding("rx-stall", peer(SERVER)), KIND, flow()) is None


def said(found: tuple[Explanation, ...]) -> list[tuple[str, Relation, bool]]:
    return [(e.rule, e.relation, e.sure) for e in found]


def test_the_surest_explanation_comes_first() -> None:
    doubtful = finding("resets", peer(SERVER), severity="info", confidence="possible")
    found = explain(KIND, flow(), [finding("tcp-memory"), doubtful, finding("connect-refused", peer(SERVER))])
    assert said(found) == [
        ("connect-refused", "endpoint", True), ("tcp-memory", "node", True), ("resets", "endpoint", False),
    ]  # fmt: skip


def test_what_is_only_worth_knowing_explains_nothing() -> None:
    assert explain(KIND, flow(), [finding("tcp-memory", severity="info")]) == ()


def test_of_a_text_that_names_nobody_nothing_is_sure_but_what_befalls_the_node() -> None:
    found = explain(KIND, flow(None), [finding("resets", peer(SERVER)), finding("tcp-memory")])
    assert said(found) == [("tcp-memory", "node", True), ("resets", "kind", False)]


def test_the_cause_of_an_explanation_explains_too() -> None:
    leak = finding("rx-stall", id="leak")
    memory = finding("tcp-memory", caused_by=("leak", "unheard-of"))
    assert said(explain(KIND, flow(), [memory, leak])) == [("tcp-memory", "node", True), ("rx-stall", "cause", True)]
    unsure = finding("resets", peer(SERVER), caused_by=("leak",))
    assert [e.sure for e in explain(KIND, flow(None), [unsure, leak])] == [False, False]


def test_causes_in_a_circle_come_to_an_end() -> None:
    one, other = finding("tcp-memory", id="a", caused_by=("b",)), finding("rx-stall", id="b", caused_by=("a",))
    assert {e.finding for e in explain(KIND, flow(), [one, other])} == {"a", "b"}


def test_every_kind_of_error_is_explained_by_a_finding_of_its_first_rule_about_its_end() -> None:
    for name, kind in kinds().kinds.items():
        for rule in kind.flow[:1]:
            shape = rule.partition("/")[2] or None
            found = explain(kind, flow(), [finding(rule.partition("/")[0], peer(SERVER), shape=shape)])
            assert [e.relation for e in found] == ["endpoint"], name


def container(name: str) -> Container:
    return Container(id=name, cgroup=f"/{name}")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (WEB, Workload(pod=Pod(namespace="shop", name="web", uid="u1")), True),
        (WEB, Workload(pod=Pod(namespace="shop", name="web", uid="u9")), False),
        (WEB, Workload(pod=Pod(namespace="shop", name="web")), True),
        (Workload(pod=Pod()), Workload(pod=Pod()), False),
        (Workload(container=container("a")), Workload(container=container("a")), True),
        (Workload(container=container("a")), Workload(container=container("b")), False),
        (Workload(process=Process(pid=7, comm="a")), Workload(process=Process(pid=7, comm="b")), True),
        (Workload(process=Process(pid=0, comm="a")), Workload(process=Process(pid=0, comm="a")), False),
        (Workload(process=Process(pid=7, comm="a")), Workload(container=container("a")), False),
        (Workload(), Workload(), False),
    ],
)
def test_two_are_one_by_what_both_are_known_by(one: Workload, other: Workload, same: bool) -> None:
    assert same_owner(one, other) is same
    assert same_owner(other, one) is same
