"""Ports that run out, and packets that a setting drops: what follows from them, and what only happens beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Evidence, Finding, Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER, OTHER = Endpoint("203.0.113.9", 443), Endpoint("203.0.113.8", 443)
HERE, THERE = 11, 12
CLIENT = Process(pid=7, comm="orders")


def finding(rule: str, shape: str, *parties: Party, value: int = 40, unit: str = "connects", **other: Any) -> Finding:
    evidence = Evidence(statement="s", value=value, unit=unit, source="x", at=AT, repeat="ss")
    fields: dict[str, Any] = {
        "reason": "R", "severity": "warning", "claim": "drops", "confidence": "likely", "summary": "s", "title": "t",
        "last_seen": AT, "evidence": (evidence,), "would_explain": catalogue()[rule].would_explain,
    }  # fmt: skip
    return Finding(id=rule, rule=rule, shape=shape, parties=parties, **{**fields, **other})


def victim(netns: int = HERE) -> Party:
    return Party(role="victim", netns=netns)


def peer(endpoint: Endpoint = SERVER) -> Party:
    return Party(role="peer", endpoint=endpoint)


def caused(cause: Finding, consequence: Finding) -> bool:
    return next(f for f in link([cause, consequence]) if f.id == consequence.id).caused_by == (cause.id,)


REFUSED = finding("connect-refused", "no-free-port", victim(), peer())
SILENT = finding("connect-timeout", "nobody-answers", victim(), peer())


def test_connects_without_a_port_stand_under_whoever_has_the_ports() -> None:
    assert caused(finding("port-exhaustion", "open", victim(), peer()), REFUSED)


@pytest.mark.parametrize(
    "parties", [(victim(THERE), peer()), (victim(), peer(OTHER)), (peer(),)], ids=["namespace", "endpoint", "nobody"]
)
def test_ports_of_another_namespace_or_endpoint_are_no_cause(parties: tuple[Party, ...]) -> None:
    assert not caused(finding("port-exhaustion", "open", *parties), REFUSED)


def test_one_owner_in_two_namespaces_is_one() -> None:
    mine = Party(role="victim", process=CLIENT, netns=HERE)
    theirs = Party(role="victim", process=CLIENT, netns=None)
    refused = finding("connect-refused", "no-free-port", theirs, peer())
    assert caused(finding("port-exhaustion", "open", mine, peer()), refused)


def test_ports_that_run_out_without_a_failure_are_no_cause() -> None:
    assert not caused(finding("port-exhaustion", "open", victim(), peer(), unit="ports"), REFUSED)
    refused = finding("connect-refused", "refuses-all", victim(), peer())
    assert not caused(finding("port-exhaustion", "open", victim(), peer()), refused)


@pytest.mark.parametrize(("netns", "packets", "is_cause"), [(HERE, 20, True), (HERE, 19, False), (THERE, 90, False)])
def test_packets_dropped_at_an_end_explain_its_silence(netns: int, packets: int, is_cause: bool) -> None:
    drops = finding("rp-filter", "strict", victim(netns), value=packets, unit="packets")
    assert caused(drops, SILENT) is is_cause


@pytest.mark.parametrize(("netns", "packets", "is_cause"), [(THERE, 20, True), (THERE, 19, False), (HERE, 90, False)])
def test_packets_for_others_are_dropped_on_their_way_and_not_where_they_begin(
    netns: int, packets: int, is_cause: bool
) -> None:
    drops = finding("forwarding-off", "off", Party(role="holder", netns=netns), value=packets, unit="packets")
    assert caused(drops, SILENT) is is_cause


def test_a_full_queue_has_another_cause() -> None:
    full = finding("connect-timeout", "queue-full", victim(), peer())
    drops = finding("forwarding-off", "off", Party(role="holder", netns=THERE), value=90, unit="packets")
    assert not caused(drops, full)
