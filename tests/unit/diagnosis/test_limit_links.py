"""What a process without descriptors, a full table of neighbours and a lossy device explain, and what not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Evidence, Finding, Party
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.neighbour_findings import FULLS_SOURCE
from whodunnet.rules.table_evidence import DROPS_SOURCE

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER, OTHER = Process(pid=7, comm="orders"), Process(pid=8, comm="other")
POD, ELSEWHERE = 5, 6


def read(value: int, source: str = "x") -> Evidence:
    return Evidence(statement="s", value=value, unit="packets", source=source, at=AT, repeat="ip")


def finding(rule: str, shape: str, *parties: Party, value: int = 100, source: str = "x", **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "reason": "R", "severity": "warning", "claim": "drops", "confidence": "proven", "summary": "s", "title": "t",
        "last_seen": AT, "evidence": (read(value, source),), "would_explain": catalogue()[rule].would_explain,
    }  # fmt: skip
    return Finding(id=rule, rule=rule, shape=shape, parties=parties, **{**fields, **other})


def cause_of(consequence: Finding, cause: Finding) -> tuple[str, ...]:
    found = {f.id: f.caused_by for f in link([cause, consequence])}
    return found[consequence.id]


QUEUE = finding("accept-queue", "stuck", Party(role="culprit", process=SERVER))
FULL = finding("neighbour-table", "unanswered", severity="critical", source=FULLS_SOURCE)
DEVICE = finding("nic-drops", "queue-full", Party(role="victim", netns=POD, device="eth0"))
CARD = finding("nic-drops", "ring-full", Party(role="victim", node="n1", device="eth0"))


@pytest.mark.parametrize(("process", "shape", "found"), [
    (SERVER, "exhausted", True), (OTHER, "exhausted", False), (SERVER, "near", False),
])  # fmt: skip
def test_a_server_without_descriptors_is_why_its_queue_is_full(process: Process, shape: str, found: bool) -> None:
    cause = finding("descriptor-limit", shape, Party(role="culprit", process=process))
    assert cause_of(QUEUE, cause) == (("descriptor-limit",) if found else ())


def test_who_only_holds_descriptors_is_not_why() -> None:
    assert cause_of(QUEUE, finding("descriptor-limit", "exhausted", Party(role="holder", process=SERVER))) == ()


@pytest.mark.parametrize(("shape", "found"), [
    ("lost-at-times", True), ("nobody-there", True), ("many-addresses", False), ("queue-full", False),
])  # fmt: skip
def test_a_full_table_of_neighbours_is_why_some_are_not_reached(shape: str, found: bool) -> None:
    silent = finding("connect-timeout", shape, Party(role="victim", process=OTHER))
    assert cause_of(silent, FULL) == (("neighbour-table",) if found else ())


def test_a_table_that_is_only_nearly_full_explains_nothing() -> None:
    near = replace(FULL, severity="warning", would_explain=())
    assert cause_of(finding("connect-timeout", "lost-at-times"), near) == ()


@pytest.mark.parametrize(("netns", "number", "found"), [(POD, 200, True), (POD, 201, False), (ELSEWHERE, 10, False)])
def test_a_pods_device_is_why_its_own_packets_come_again(netns: int, number: int, found: bool) -> None:
    again = finding("connect-slow", "lost-syns", Party(role="victim", netns=netns), value=number)
    assert cause_of(again, DEVICE) == (("nic-drops",) if found else ())


def test_the_nodes_own_device_is_passed_by_what_goes_elsewhere_only() -> None:
    client, server = Party(role="victim", netns=POD), Party(role="peer", netns=ELSEWHERE)
    assert cause_of(finding("connect-slow", "lost-syns", client), CARD) == ("nic-drops",)
    assert cause_of(finding("connect-slow", "lost-syns", client, server), CARD) == ()


def test_a_line_that_came_and_went_counts_no_packets_and_explains_none() -> None:
    flaps = finding("nic-drops", "flaps", Party(role="victim", node="n1", device="eth0"), value=900)
    assert cause_of(finding("connect-slow", "lost-syns", Party(role="victim", netns=POD)), flaps) == ()


def table_of(netns: int, **other: Any) -> Finding:
    holder = Party(role="holder", netns=netns)
    return finding("conntrack-table", "other-namespace", holder, **{"severity": "critical", **other})


def client(netns: int) -> Party:
    return Party(role="victim", process=OTHER, netns=netns)


@pytest.mark.parametrize(("parties", "found"), [
    ((client(POD),), True),
    ((client(POD), Party(role="peer", netns=ELSEWHERE)), True),
    ((client(ELSEWHERE), Party(role="peer", netns=POD)), True),
    ((client(ELSEWHERE), Party(role="peer", netns=7)), False),
    ((client(POD), client(ELSEWHERE)), False),
    ((), False),
])  # fmt: skip
def test_a_full_table_of_a_namespace_is_why_what_begins_or_ends_there_gets_no_answer(
    parties: tuple[Party, ...], found: bool
) -> None:
    silent = finding("connect-timeout", "table-full", *parties)
    assert cause_of(silent, table_of(POD)) == (("conntrack-table",) if found else ())


def test_a_table_of_a_namespace_explains_nothing_while_there_is_room_nor_another_shape() -> None:
    silent = finding("connect-timeout", "table-full", client(POD))
    assert cause_of(silent, table_of(POD, severity="warning")) == ()
    assert cause_of(silent, table_of(POD, confidence="possible")) == ()
    assert cause_of(finding("connect-timeout", "nobody-answers", client(POD)), table_of(POD)) == ()


def test_the_nodes_own_table_does_not_explain_what_another_table_drops() -> None:
    own = finding("conntrack-table", "churn", client(POD), severity="critical", source=DROPS_SOURCE)
    assert cause_of(finding("connect-timeout", "table-full", client(POD)), own) == ()
    assert cause_of(finding("connect-timeout", "lost-at-times", client(POD)), own) == ("conntrack-table",)
