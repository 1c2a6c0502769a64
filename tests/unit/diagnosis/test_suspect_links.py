"""A silent name server, used-up CPUs, and what stands under them or above."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Evidence, Finding, Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.table_evidence import DROPS_SOURCE

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER = Party(role="peer", endpoint=Endpoint("10.96.0.10", 53))


def read(value: int = 6, unit: str = "questions", source: str = "x") -> Evidence:
    return Evidence(statement="s", value=value, unit=unit, source=source, at=AT, repeat="true")


def finding(rule: str, shape: str, *parties: Party, **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "reason": "R", "severity": "warning", "claim": "drops", "confidence": "likely", "summary": "s", "title": "t",
        "last_seen": AT, "evidence": (read(),), "would_explain": catalogue()[rule].would_explain,
    }  # fmt: skip
    return Finding(id=rule, rule=rule, shape=shape, parties=parties, **{**fields, **other})


def causes(*findings: Finding) -> dict[str, tuple[str, ...]]:
    return {f.id: f.caused_by for f in link(findings)}


DNS = finding("dns", "silent", SERVER)


@pytest.mark.parametrize("shape", ["black-hole", "dead-endpoint", "no-endpoints"])
def test_a_hang_at_the_same_name_server_is_told_once(shape: str) -> None:
    assert causes(DNS, finding("service-hang", shape, SERVER))["service-hang"] == ("dns",)


def test_a_hang_elsewhere_and_one_under_a_mere_possibility_stand_alone() -> None:
    elsewhere = Party(role="peer", endpoint=Endpoint("10.96.0.99", 53))
    assert causes(DNS, finding("service-hang", "black-hole", elsewhere))["service-hang"] == ()
    perhaps = finding("dns", "silent", SERVER, confidence="possible")
    assert causes(perhaps, finding("service-hang", "black-hole", SERVER))["service-hang"] == ()


@pytest.mark.parametrize("shape", ["silent", "slow"])
def test_questions_are_lost_where_the_table_is_full(shape: str) -> None:
    full = finding("conntrack-table", "churn", severity="critical", evidence=(read(900, "packets", DROPS_SOURCE),))
    assert causes(full, finding("dns", shape, SERVER))["dns"] == ("conntrack-table",)


@pytest.mark.parametrize(("packets", "cause"), [(3, ("provider-limits",)), (2, ())])
def test_questions_are_lost_at_a_limit_of_the_provider(packets: int, cause: tuple[str, ...]) -> None:
    limit = finding("provider-limits", "link-local", evidence=(read(packets, "packets"),))
    assert causes(limit, DNS)["dns"] == cause


def test_another_limit_of_the_provider_loses_no_questions() -> None:
    limit = finding("provider-limits", "bandwidth-in", evidence=(read(99, "packets"),))
    assert causes(limit, DNS)["dns"] == ()


def test_a_name_server_that_does_not_read_its_socket_is_the_cause() -> None:
    reader = Party(role="culprit", process=Process(pid=8, comm="dnsmasq"), endpoint=Endpoint("10.96.0.10", 53))
    full = finding("udp-buffers", "receiver-stopped", reader)
    assert causes(full, DNS)["dns"] == ("udp-buffers",)
    other = Party(role="culprit", process=Process(pid=8, comm="syslog"), endpoint=Endpoint("10.96.0.10", 514))
    assert causes(finding("udp-buffers", "receiver-stopped", other), DNS)["dns"] == ()


COLLECTOR = Party(role="victim", process=Process(pid=8, comm="collector"), endpoint=Endpoint("10.96.0.10", 53))
SHIPPER = Party(role="victim", process=Process(pid=9, comm="shipper"))


@pytest.mark.parametrize(("who", "cause"), [(COLLECTOR, ("cpu-throttled",)), (SHIPPER, ())])
def test_a_receiver_without_cpu_time_is_told_with_its_quota(who: Party, cause: tuple[str, ...]) -> None:
    quota = finding("cpu-throttled", "data-waits", who, evidence=(read(16, "periods"),))
    assert causes(quota, finding("udp-buffers", "receiver-throttled", COLLECTOR))["udp-buffers"] == cause


def test_a_name_server_without_cpu_time_is_the_cause() -> None:
    for shape in ("receiver-throttled", "receiver-without-cpu"):
        assert causes(finding("udp-buffers", shape, COLLECTOR), DNS)["dns"] == ("udp-buffers",)


CPU = finding("cpu-pressure", "consumer", Party(role="victim", node="n1"), evidence=(read(1, "share"),))


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        ("softnet-drops", "queue-full"),
        ("accept-queue", "slow"),
        ("udp-buffers", "receiver-slow"),
        ("udp-buffers", "receiver-without-cpu"),
    ],
)
def test_who_waits_for_a_cpu_reads_late(rule: str, shape: str) -> None:
    assert causes(CPU, finding(rule, shape))[rule] == ("cpu-pressure",)


@pytest.mark.parametrize(("rule", "shape"), [("accept-queue", "stuck"), ("udp-buffers", "receiver-stopped")])
def test_what_stands_still_by_itself_is_not_explained(rule: str, shape: str) -> None:
    assert causes(CPU, finding(rule, shape))[rule] == ()


def test_a_batch_job_that_bothers_nobody_explains_nothing() -> None:
    gentle = finding("cpu-pressure", "consumer", severity="info", evidence=(read(1, "share"),))
    assert causes(gentle, finding("accept-queue", "slow"))["accept-queue"] == ()
