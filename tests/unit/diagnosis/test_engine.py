"""The outcome of a diagnosis, and what it copies from the recording."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from whodunnet import __version__
from whodunnet.diagnosis.engine import NEEDS_NOTHING_MORE, diagnose, with_cost
from whodunnet.errors import FailureCode
from whodunnet.model.sample import CollectorCost, Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.rules.catalogue import catalogue

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BOTH = ["tcp-memory", "socket-leak"]
NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")
NEEDED: list[FailureCode] = [code for code in get_args(FailureCode) if code not in NEEDS_NOTHING_MORE]
EXCUSED: list[FailureCode] = [code for code in get_args(FailureCode) if code in NEEDS_NOTHING_MORE]


def memory(used: int = 100, **other: Any) -> TcpMemory:
    return TcpMemory(
        page_size_bytes=4096, cpus=1, low_pages=7_500, pressure_pages=10_000, max_pages=15_000, used_pages=used,
        orphans=0, alloc_sockets=0, inuse_sockets=0, time_wait_sockets=0, **other,
    )  # fmt: skip


def unread(n: int, pages: int) -> Sockets:
    group = SocketGroup(
        owner_pid=7, netns=1, protocol="tcp", state="established", role="initiated", holding="descriptor",
        symptom="unread", endpoint=Endpoint("203.0.113.9", 443), sockets=n, memory_bytes=pages * 4096,
        unchanged=n, ages=(0,) * 6 + (n,) + (0,) * 5,
    )  # fmt: skip
    return Sockets(method="bpf", groups=(group,) if n else ())


WORKLOADS = Workloads(by_pid={7: Workload(process=Process(pid=7, comm="app"))})


def node(*, sockets: AnySample | None = None, tcp: AnySample | None = None, moments: int = 2) -> Recording:
    samples: dict[str, AnySample] = {
        "sockets": sockets or unread(0, 0), "tcp_memory": tcp or memory(), "workloads": WORKLOADS,
    }  # fmt: skip
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=Moment(AT + timedelta(seconds=i), 50.0 + i), samples=samples) for i in range(moments)
        ),
    )


def failed(code: FailureCode) -> Failure:
    return Failure(code=code, reason="it does not work")


def test_a_node_with_nothing_found_and_everything_checked_is_healthy() -> None:
    found = diagnose(node(), BOTH)
    assert (found.outcome, found.findings, found.not_checked) == ("healthy", (), ())
    assert [c.rule for c in found.cleared] == BOTH


def test_a_finding_is_the_outcome_whatever_could_not_be_checked() -> None:
    assert diagnose(node(sockets=unread(90, 100)), BOTH).outcome == "finding"
    assert diagnose(node(sockets=failed("unreadable"), tcp=memory(15_000)), BOTH, ["socket-leak"]).outcome == "finding"


def test_a_finding_that_is_only_worth_knowing_leaves_a_node_healthy() -> None:
    found = diagnose(node(sockets=unread(90, 100), moments=1), BOTH)
    assert [f.severity for f in found.findings] == ["info"]
    assert found.outcome == "healthy"


@pytest.mark.parametrize("code", NEEDED)
def test_a_rule_that_could_have_been_checked_makes_the_answer_incomplete(code: FailureCode) -> None:
    found = diagnose(node(sockets=failed(code)), BOTH)
    assert (found.outcome, [n.rule for n in found.not_checked]) == ("incomplete", ["socket-leak"])


@pytest.mark.parametrize("code", EXCUSED)
def test_a_rule_that_this_kernel_and_these_rights_do_not_allow_is_not_required(code: FailureCode) -> None:
    found = diagnose(node(sockets=failed(code)), BOTH)
    assert (found.outcome, [n.code for n in found.not_checked]) == ("healthy", [code])


@pytest.mark.parametrize("code", get_args(FailureCode))
def test_a_rule_that_is_asked_for_is_required_in_any_case(code: FailureCode) -> None:
    assert diagnose(node(sockets=failed(code)), BOTH, ["socket-leak"]).outcome == "incomplete"


def test_a_required_rule_that_was_answered_is_enough() -> None:
    assert diagnose(node(), BOTH, BOTH).outcome == "healthy"


def test_a_required_rule_that_was_not_run_makes_the_answer_incomplete() -> None:
    assert diagnose(node(), ["tcp-memory"], ["socket-leak"]).outcome == "incomplete"


def test_a_rule_whose_limits_are_out_of_sight_was_not_checked() -> None:
    found = diagnose(node(tcp=replace(memory(), max_pages=None)), BOTH, ["tcp-memory"])
    assert (found.outcome, [n.rule for n in found.not_checked]) == ("incomplete", ["tcp-memory"])


def test_a_worked_out_cause_stands_before_its_consequence_and_is_named_there() -> None:
    found = diagnose(node(sockets=unread(900, 14_000), tcp=memory(15_000)), BOTH)
    assert [f.rule for f in found.findings] == ["socket-leak", "tcp-memory"]
    assert found.findings[1].caused_by == (found.findings[0].id,)
    assert found.findings[0].would_explain == (found.findings[1].id,)


def test_the_order_of_the_rules_does_not_matter() -> None:
    some = node(sockets=unread(900, 14_000), tcp=memory(15_000))
    assert diagnose(some, BOTH).findings == diagnose(some, BOTH[::-1]).findings


def test_every_rule_of_the_catalogue_can_be_run() -> None:
    found = diagnose(node(), list(catalogue()))
    answers = (*found.findings, *found.cleared, *found.not_checked, *found.not_applicable)
    assert {a.rule for a in answers} == set(catalogue()) > set(BOTH)
    assert found.outcome == "healthy"


def test_window_node_and_tool_are_those_of_the_recording() -> None:
    found = diagnose(node(moments=4), BOTH)
    assert (found.window.start, found.window.end) == (AT, AT + timedelta(seconds=3))
    assert (found.window.seconds, found.window.snapshots) == (3.0, 4)
    assert (found.node, found.tool.version) == (NODE, __version__)


def test_the_cost_is_copied_and_can_be_brought_up_to_date() -> None:
    costs = {"sockets": CollectorCost(wall_seconds=0.5)}
    early = replace(node(), costs=costs, wall_seconds=1.0, cpu_seconds=0.25, peak_rss_bytes=9)
    found = diagnose(early, BOTH)
    assert (found.cost.collectors, found.cost.wall_seconds, found.cost.peak_rss_bytes) == (costs, 1.0, 9)
    late = with_cost(found, replace(early, wall_seconds=2.0, cpu_seconds=0.5, peak_rss_bytes=10))
    assert (late.cost.wall_seconds, late.cost.cpu_seconds, late.cost.peak_rss_bytes) == (2.0, 0.5, 10)
    assert replace(late, cost=found.cost) == found


def test_what_rights_kept_from_being_seen_and_what_would_add_most_is_said() -> None:
    blind = replace(
        unread(9, 9), method="sock_diag", fallback_reason="not without CAP_PERFMON", missing_capability="CAP_PERFMON"
    )
    (limit,) = diagnose(node(sockets=blind), BOTH).limits
    assert "not without CAP_PERFMON" in limit
    assert "would add most" in limit
    switched_off = replace(blind, missing_capability=None)
    assert "would add most" not in diagnose(node(sockets=switched_off), BOTH).limits[0]
    assert diagnose(node(), BOTH).limits == ()
