"""A full accept queue, what it does to others, and what does it to the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Evidence, Finding, Party, PartyRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER, OTHER = Process(pid=7, comm="orders"), Process(pid=8, comm="other")
READ = Evidence(statement="s", value=6, unit="connections", source="x", at=AT, repeat="ss")


def finding(rule: str, shape: str, *parties: Party, **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "reason": "R", "severity": "warning", "claim": "drops", "confidence": "likely", "summary": "s", "title": "t",
        "last_seen": AT, "evidence": (READ,), "would_explain": catalogue()[rule].would_explain,
    }  # fmt: skip
    return Finding(id=rule, rule=rule, shape=shape, parties=parties, **{**fields, **other})


def party(role: PartyRole, process: Process = SERVER, port: int = 8080, address: str = "10.0.0.1") -> Party:
    return Party(role=role, process=process, endpoint=Endpoint(address, port))


def causes(*findings: Finding) -> dict[str, tuple[str, ...]]:
    return {f.id: f.caused_by for f in link(findings)}


STUCK = finding("accept-queue", "stuck", party("culprit"))


@pytest.mark.parametrize(
    ("rule", "shape"),
    [("connect-timeout", "queue-full"), ("connect-slow", "queue-full"), ("service-hang", "dead-endpoint")],
)
def test_who_gets_no_answer_from_it_stands_under_a_full_queue(rule: str, shape: str) -> None:
    assert causes(STUCK, finding(rule, shape, party("peer")))[rule] == ("accept-queue",)


def test_a_halted_listener_has_caused_nothing_and_explains_its_callers_all_the_same() -> None:
    halted = finding("accept-queue", "stuck", party("reader"))
    assert causes(halted, finding("connect-timeout", "queue-full", party("peer")))["connect-timeout"] == (
        "accept-queue",
    )
    leak = finding("socket-leak", "accept-not-called", Party(role="culprit", process=SERVER))
    assert causes(leak, halted)["accept-queue"] == ("socket-leak",)


def test_some_who_get_no_answer_from_one_of_several_listeners_stand_under_its_queue() -> None:
    culprit = Party(role="culprit", process=SERVER, netns=5, endpoint=Endpoint("0.0.0.0", 8080))
    peer = Party(role="peer", netns=5, endpoint=Endpoint("10.0.0.1", 8080))
    full = finding("accept-queue", "stuck", culprit)
    for shape in ("queue-full", "lost-at-times"):
        assert causes(full, finding("connect-timeout", shape, peer))["connect-timeout"] == ("accept-queue",)
        other = finding("connect-timeout", shape, replace(peer, netns=6))
        assert causes(full, other)["connect-timeout"] == ()


def test_a_process_is_the_same_whatever_else_is_said_of_it() -> None:
    bare = Party(role="culprit", process=replace(SERVER, descriptor_limit=None, state="sleeping"))
    limited = finding("accept-queue", "stuck", party("culprit", replace(SERVER, descriptor_limit=20_000)))
    assert causes(finding("socket-leak", "accept-not-called", bare), limited)["accept-queue"] == ("socket-leak",)
    again = Party(role="culprit", process=replace(SERVER, started=AT))
    assert causes(finding("socket-leak", "accept-not-called", again), limited)["accept-queue"] == ()


@pytest.mark.parametrize("there", [party("peer", port=9090), party("peer", OTHER, address="10.0.0.2")])
def test_another_listener_is_not_its_doing(there: Party) -> None:
    assert causes(STUCK, finding("connect-timeout", "queue-full", there))["connect-timeout"] == ()


def test_a_queue_seen_full_once_explains_nothing() -> None:
    once = finding("accept-queue", "full", party("holder"), confidence="possible")
    assert causes(once, finding("connect-timeout", "queue-full", party("peer")))["connect-timeout"] == ()


def test_a_queue_that_is_full_and_drops_explains_its_callers_though_nobody_knows_why_it_is() -> None:
    full = finding("accept-queue", "full", party("holder"))
    assert causes(full, finding("connect-timeout", "queue-full", party("peer")))["connect-timeout"] == ("accept-queue",)


def test_connections_that_wait_for_long_are_the_cause_of_a_full_queue() -> None:
    leak = finding("socket-leak", "accept-not-called", Party(role="culprit", process=SERVER))
    assert causes(leak, STUCK)["accept-queue"] == ("socket-leak",)
    elsewhere = finding("socket-leak", "accept-not-called", Party(role="culprit", process=OTHER))
    assert causes(elsewhere, STUCK)["accept-queue"] == ()


@pytest.mark.parametrize(("shape", "linked"), [("slow", True), ("small", True), ("stuck", False), ("unseen", False)])
def test_a_quota_that_is_used_up_is_the_cause_of_a_queue_that_is_emptied_too_slowly(shape: str, linked: bool) -> None:
    quota = finding("cpu-throttled", "accept-queue-full", Party(role="victim", process=SERVER))
    queue = finding("accept-queue", shape, party("culprit"))
    assert causes(quota, queue)["accept-queue"] == (("cpu-throttled",) if linked else ())
    elsewhere = finding("cpu-throttled", "accept-queue-full", Party(role="victim", process=OTHER))
    assert causes(elsewhere, queue)["accept-queue"] == ()
    only_late = finding("cpu-throttled", "data-waits", Party(role="victim", process=SERVER))
    assert causes(only_late, queue)["accept-queue"] == ()


def test_a_server_that_does_not_accept_fills_its_queue_of_half_open_connections_too() -> None:
    assert causes(STUCK, finding("syn-queue", "dropped", party("victim")))["syn-queue"] == ("accept-queue",)
