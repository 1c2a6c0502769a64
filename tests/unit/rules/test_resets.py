"""resets: who resets whom while a connection is used."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process, Workload

from .connects import effects, endpoints, named, node, opened, said, translated
from .endings import FAR_CLIENT, FAR_SERVER, SERVER, accepted, initiated, listening
from .nodes import finding, findings, in_container, parties, pids
from .resetting import RULE, closed, cut
from .tracking import ALIVE, OTHER_NETNS, OWNERS, POD, POD_NETNS, SERVICE


def test_a_server_that_resets_is_the_culprit() -> None:
    found = finding(node(*cut(30), *closed(70)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("server-resets", "warning", "proven")
    assert (found.claim, found.reason) == ("resets", "ServerResets")
    assert (named(found, "culprit"), named(found, "victim")) == (["batch"], ["web"])
    assert endpoints(found) == [SERVER]
    assert "30 of 100 connections (30 %)" in found.title


def test_workers_that_are_gone_are_one_program() -> None:
    each = [
        accepted("reset-sent", {0.0: 4}, owner_pid=pid, comm="worker", process_started_seconds=1_000.0 + pid)
        for pid in range(900, 910)
    ]
    found = finding(node(initiated("reset-received", {0.0: 40}), *each, *closed(80)), RULE)
    assert [p.process.comm for p in parties(found, "culprit")] == ["worker"]  # type: ignore[union-attr]
    assert effects(parties(found, "culprit")) == ["reset 40 connections"]
    assert any("10 of the processes that sent them were gone" in line for line in found.explanation)
    by_name = {pid: Workload(process=Process(pid=pid, comm="worker"), netns=OTHER_NETNS) for pid in range(900, 910)}
    known = replace(OWNERS, by_pid={**OWNERS.by_pid, **by_name})
    found = finding(node(initiated("reset-received", {0.0: 40}), *each, *closed(80), workloads=known), RULE)
    assert any("10 of the processes" in line for line in found.explanation)


def test_of_workers_that_are_gone_their_master_is_named_if_it_is_the_same_program() -> None:
    def culprits(comm: str) -> list[int]:
        each = [
            accepted("reset-sent", {0.0: 20}, owner_pid=pid, comm=comm, process_started_seconds=1_000.0 + pid)
            for pid in (900, 901)
        ]
        groups = (initiated("reset-received", {0.0: 40}), *each, *closed(80))
        return pids(finding(node(*groups, listeners=[listening()]), RULE), "culprit")

    assert culprits("app8") == [8]
    assert culprits("worker") == [0]


def test_programs_that_are_gone_and_share_no_more_than_a_name_are_not_proven() -> None:
    """Outside of containers: two scripts of one interpreter, say."""
    each = [
        accepted("reset-sent", {0.0: 20}, owner_pid=pid, comm="python3", process_started_seconds=1_000.0 + pid)
        for pid in (900, 901)
    ]
    groups = (initiated("reset-received", {0.0: 40}), *each, *closed(80))
    found = finding(node(*groups, workloads=replace(OWNERS, by_netns={})), RULE)
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("server-resets", "likely", [0])


def test_of_two_programs_behind_an_endpoint_both_are_named_unless_one_sends_few() -> None:
    first = accepted("reset-sent", {0.0: 30})
    other = accepted("reset-sent", {0.0: 20}, owner_pid=901, comm="other", process_started_seconds=1.0)
    found = finding(node(initiated("reset-received", {0.0: 50}), first, other, *closed(50)), RULE)
    assert [len(pids(found, "culprit"))] == [2]
    few = accepted("reset-sent", {0.0: 5}, owner_pid=901, comm="other", process_started_seconds=1.0)
    found = finding(node(initiated("reset-received", {0.0: 35}), first, few, *closed(50)), RULE)
    assert named(found, "culprit") == ["batch"]


def test_of_a_container_the_process_whose_connections_are_cut_is_the_victim() -> None:
    other = [opened(50, owner_pid=6), initiated("closed-here", {0.0: 50}, owner_pid=6), accepted("closed-by-peer", 50)]
    owners = replace(OWNERS, by_pid={**OWNERS.by_pid, **in_container("web", 6, 7)})
    found = finding(node(*other, *cut(60), *closed(60), workloads=owners), RULE)
    assert (pids(found, "culprit"), pids(found, "victim")) == ([8], [7])


def test_where_every_connection_ends_so_it_may_be_its_way_to_close() -> None:
    found = finding(node(*cut(60)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("server-resets", "info", "possible")
    assert (named(found, "culprit"), named(found, "peer")) == ([], ["batch"])
    assert any("SO_LINGER" in line and "looks the same" in line for line in found.explanation)
    between = finding(node(initiated("reset-received", {0.01: 60}), accepted("reset-received", {0.01: 60})), RULE)
    assert not any("looks the same" in line for line in between.explanation)


@pytest.mark.parametrize(("unanswered", "severity"), [(60, "warning"), (30, "warning"), (29, "info")])
def test_a_server_that_answers_nobody_is_no_habit(unanswered: int, severity: str) -> None:
    """Such as one that crashes at every request."""
    received = initiated("reset-received", {0.01: unanswered}, unanswered=True)
    sent = accepted("reset-sent", {0.01: unanswered}, unanswered=True)
    rest = cut(60 - unanswered) if unanswered < 60 else ()
    found = finding(node(received, sent, *rest), RULE)
    assert (found.shape, found.severity) == ("server-resets", severity)
    assert bool(named(found, "culprit")) == (severity == "warning")
    assert any(e.statement == "Had asked, and got no byte of an answer" for e in found.evidence)


def test_a_server_elsewhere_that_answers_nobody_is_no_habit_either() -> None:
    def told(**other: Any) -> bool:
        found = finding(node(initiated("reset-received", {0.01: 60}, to=FAR_SERVER, **other)), RULE)
        assert (found.shape, found.confidence) == ("peer-resets", "likely")
        return any("looks the same" in line for line in found.explanation)

    assert told()
    assert not told(unanswered=True)


def test_where_nobody_is_known_at_the_servers_end_nobody_is_the_culprit() -> None:
    groups = (*cut(30), *closed(70))
    nameless = [replace(g, owner_pid=None, comm="") if g.role == "accepted" else g for g in groups]
    home = replace(OWNERS, by_pid={7: OWNERS.by_pid[7]}, by_netns={})
    found = finding(node(*nameless, workloads=home), RULE)
    assert (found.shape, found.confidence) == ("server-resets", "likely")
    assert parties(found, "culprit") == []
    assert [p.endpoint for p in parties(found, "peer")] == [SERVER]


def test_a_server_that_did_not_reset_is_not_blamed_for_who_did() -> None:
    found = finding(node(initiated("reset-received", {0.01: 30}), *closed(70)), RULE)
    assert (found.shape, found.confidence) == ("reset-between", "likely")
    assert parties(found, "culprit") == []


def test_what_both_ends_receive_was_sent_in_between() -> None:
    """Neither the client's own aborts nor its server's."""
    groups = (initiated("reset-received", {0.2: 30}), accepted("reset-received", {0.0: 30}))
    found = finding(node(*groups, *closed(70)), RULE)
    assert (found.shape, parties(found, "culprit")) == ("reset-between", [])
    assert ("Resets that the accepting process itself received", 30) in [(e.statement, e.value) for e in found.evidence]


def test_a_server_that_resets_idle_connections_is_not_blamed_for_those_in_use() -> None:
    idle = (initiated("reset-received", {60.0: 100}), accepted("reset-sent", {60.0: 100}))
    found = finding(node(*idle, initiated("reset-received", {0.01: 30}), *closed(170)), RULE)
    assert (found.shape, parties(found, "culprit")) == ("reset-between", [])
    assert findings(node(*idle, *closed(70)), RULE) == []


def test_a_server_that_resets_a_request_after_long_work_is_named() -> None:
    groups = (initiated("reset-received", {0.01: 40}), accepted("reset-sent", {3.0: 40}))
    assert said(node(*groups, *closed(60)), RULE) == [("server-resets", "warning", "proven")]


def outlived(n: int, *, ends: int = 30, seconds: float = 1.0, asked: bool = True) -> list[ConnectionGroup]:
    """Of as many requests each is answered by a reset after a pause; the server's ends learn of it when they close."""
    closes = {"client": POD, "state": "established"}
    server = [
        accepted("closed-here", {8.0: ends}, **closes),
        accepted("reset-received", {8.0: ends}, state="fin-wait-1"),
    ]
    return [opened(n), initiated("reset-received", {seconds: n}, asked=asked), *server]


def test_requests_after_a_pause_that_are_reset_while_the_servers_end_stays_open_are_lost_in_between() -> None:
    """Address translation that has lost track leads the next packet to another endpoint of the Service."""
    others = {"to": SERVICE, "asked": True}
    here = [opened(30, to=SERVICE), initiated("reset-received", {1.0: 30}, **others)]
    samples = {"conntrack": translated(SERVICE, SERVER)}
    found = finding(node(*here, *outlived(0), samples=samples), RULE)
    assert (found.shape, found.severity, found.confidence) == ("reset-between", "warning", "likely")
    assert (parties(found, "culprit"), named(found, "victim"), endpoints(found)) == ([], ["web"], [SERVICE])
    said_of = {e.statement: e.value for e in found.evidence}
    assert said_of["Ends of the server that stayed open, and were reset when they closed or sent something"] == 30
    assert said_of["Of those reset, the ones that had paused before"] == 30


@pytest.mark.parametrize(("asked", "seconds", "ends"), [(False, 1.0, 30), (True, 1.0, 14), (True, 1.0, 0)])
def test_a_timer_that_resets_what_nobody_uses_and_who_is_reset_at_both_ends_are_not_lost(
    asked: bool, seconds: float, ends: int
) -> None:
    assert findings(node(*outlived(30, ends=ends, seconds=seconds, asked=asked)), RULE) == []


@pytest.mark.parametrize("explained", [
    accepted("late-data", 30, state="close"),  # it had closed, and data came
    accepted("reset-sent", {60.0: 1}),  # its own timer
    accepted("timed-out", {60.0: 1}),  # nobody answered its probes
    initiated("reset-sent", {8.0: 30}, state="close-wait"),  # closed with the server's last words unread
    initiated("reset-sent", {60.0: 30}),  # the client's other connections
], ids=lambda g: f"{g.role} {g.ending} {g.state}")  # fmt: skip
def test_ends_of_the_server_that_were_reset_for_another_reason_have_not_outlived_anything(
    explained: ConnectionGroup,
) -> None:
    assert "reset-between" in [f.shape for f in findings(node(*outlived(30)), RULE)]
    assert "reset-between" not in [f.shape for f in findings(node(*outlived(30), explained), RULE)]


def in_its_name(own: int = 0, **other: Any) -> list[ConnectionGroup]:
    """Of a hundred connections the server receives 30 resets, of which the client has sent its own."""
    waiting = [opened(100, **other), initiated("reset-sent", {0.0: own}, **other)] if own else [opened(100, **other)]
    return [*waiting, accepted("reset-received", {0.0: 30}), *closed(70, **other)]


def test_resets_that_the_server_receives_and_no_client_has_sent_come_from_in_between() -> None:
    """The client still waits, or has given up by a usual close."""
    for waiting in ([], [initiated("closed-here", {2.0: 30})]):
        found = finding(node(*in_its_name(), *waiting), RULE)
        assert (found.shape, found.severity, found.confidence) == ("reset-between", "warning", "likely")
        assert (parties(found, "culprit"), named(found, "victim")) == ([], ["web"])
        assert "30 of 100 connections" in found.title


def test_of_resets_that_the_server_receives_those_of_clients_are_theirs() -> None:
    assert findings(node(*in_its_name(own=30)), RULE) == []
    killed = initiated("broken", {0.0: 30})
    assert findings(node(*in_its_name(), killed), RULE) == []
    assert findings(node(*in_its_name(), lost={"reset-sent": 1}), RULE) == []
    assert findings(node(*in_its_name(), opened(5, client=None)), RULE) == []


def test_connections_that_came_by_another_way_may_have_been_reset_by_anybody() -> None:
    groups = (opened(70), accepted("reset-received", {0.0: 30}), *closed(70))
    assert findings(node(*groups), RULE) == []


def test_of_two_programs_behind_one_address_nobody_knows_who_is_cut() -> None:
    other = {"owner_pid": 700, "comm": "other", "process_started_seconds": 1.0, "netns": POD_NETNS}
    home = replace(OWNERS, by_pid={8: OWNERS.by_pid[8]}, by_netns={})
    groups = (*in_its_name(), opened(5, **other))
    found = finding(node(*groups, workloads=home), RULE)
    assert [(p.process, p.endpoint) for p in parties(found, "victim")] == [(UNSET, Endpoint(POD, None))]


def by_service(n: int) -> list[ConnectionGroup]:
    """The same client through a Service, which leads to the same server: n are reset, 40 closed."""
    return [initiated("reset-received", {0.01: n}, to=SERVICE), initiated("closed-here", {0.0: 40}, to=SERVICE)]


def test_resets_of_a_server_that_is_reached_by_two_endpoints_are_used_once() -> None:
    """It has sent 60; the client has received 60 directly, and 60 through a Service."""
    samples = {"conntrack": translated(SERVICE, SERVER)}
    direct = [initiated("reset-received", {0.01: 60}), initiated("closed-here", {0.0: 40})]
    groups = [*direct, *by_service(60), accepted("closed-by-peer", {0.0: 80})]
    found = findings(node(*groups, accepted("reset-sent", {0.01: 60}), samples=samples), RULE)
    assert [(f.shape, f.confidence) for f in found] == [("peer-resets", "likely")] * 2
    assert [parties(f, "culprit") for f in found] == [[], []]
    found = findings(node(*groups, accepted("reset-sent", {0.01: 120}), samples=samples), RULE)
    assert [named(f, "culprit") for f in found] == [["batch"], ["batch"]]


def test_a_server_that_has_reset_nobody_is_cleared_whoever_else_reaches_it() -> None:
    samples = {"conntrack": translated(SERVICE, SERVER)}
    groups = [*by_service(60), accepted("closed-by-peer", {0.0: 90}), initiated("closed-here", {0.0: 50})]
    found = finding(node(*groups, samples=samples), RULE)
    assert (found.shape, endpoints(found)) == ("peer-resets", [SERVICE])


def test_a_server_elsewhere_is_no_culprit() -> None:
    groups = (
        initiated("reset-received", {0.01: 30}, to=FAR_SERVER),
        initiated("closed-by-peer", {0.01: 70}, to=FAR_SERVER),
    )
    found = finding(node(*groups), RULE)
    assert (found.shape, found.confidence) == ("peer-resets", "likely")
    assert (parties(found, "culprit"), endpoints(found)) == ([], [FAR_SERVER])


def test_a_server_whose_end_was_not_joined_is_no_culprit() -> None:
    """Behind a translation the accepting end has another client address."""
    samples = {"conntrack": translated(SERVICE, ALIVE)}
    groups = (initiated("reset-received", {0.01: 30}, to=SERVICE), initiated("closed-by-peer", {0.01: 70}, to=SERVICE))
    assert said(node(*groups, samples=samples), RULE) == [("peer-resets", "warning", "likely")]


def test_clients_elsewhere_are_victims_of_a_server_here() -> None:
    groups = (
        accepted("reset-sent", {0.01: 30}, client=FAR_CLIENT),
        accepted("closed-here", {0.01: 70}, client=FAR_CLIENT),
    )
    found = finding(node(*groups), RULE)
    assert (found.shape, named(found, "culprit")) == ("server-resets", ["batch"])
    assert endpoints(found) == [SERVER, Endpoint(FAR_CLIENT, None)]
