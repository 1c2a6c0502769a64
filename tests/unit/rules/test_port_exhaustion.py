"""port-exhaustion: ports of one endpoint, open or in TIME_WAIT; whoever has them is named, and nobody else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.ports import Ports, PortUse, SourcePorts
from whodunnet.model.sample import Failure
from whodunnet.model.settings import Settings
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .endings import initiated
from .limited import OTHER_PEER, PEER, PORTS, narrow, node, ports, source, use
from .nodes import NETNS, at_each, finding, findings, group, parties, pids

RULE = "port-exhaustion"
ENTRY = catalogue()[RULE]
NEAR = int(ENTRY.limit("min_share") * PORTS)
FEW = int(ENTRY.limit("min_failed"))


def held(
    *uses: PortUse, before: Ports | None = None, bound: int = 0, failed: int = 0, closed: int = 0,
    groups: tuple[SocketGroup, ...] = (), known: Settings | None = None, watched: bool = True,
    to: Endpoint = PEER, sources: tuple[SourcePorts, ...] = (),
) -> Recording:  # fmt: skip
    """Two readings; failed, closed: connects to `to` without a port, and connections that were closed first here."""
    samples: list[dict[str, AnySample]] = []
    for i in range(2):
        sample = before if before is not None and i == 0 else ports(*uses, bound=bound, sources=sources)
        samples.append({"ports": sample})
        if watched:
            samples[-1]["connections"] = connections(i * failed, i * closed, i, to)
    return node(samples, settings=known or narrow(), sockets=Sockets(method="bpf", groups=groups))


def connections(failed: int, closed: int, i: int, to: Endpoint) -> Connections:
    here = {"netns": NETNS, "client": "10.0.0.1", "owner_pid": 7, "comm": "app7", "to": to}
    groups: list[ConnectionGroup] = []
    groups += [initiated("not-sent", {0.0: failed}, **here)] if failed else []
    groups += [initiated("closed-here", {0.1: closed}, **{**here, "owner_pid": 8, "comm": "app8"})] if closed else []
    return Connections(groups=tuple(groups), watched_seconds=1.0 + 3 * i)


def opened(n: int, pid: int = 7, to: Endpoint = PEER) -> SocketGroup:
    return group("held-open", n, pid=pid, endpoint=to)


@pytest.mark.parametrize(("n", "found"), [(NEAR - 1, 0), (NEAR, 1), (PORTS, 1)])
def test_a_range_is_near_its_end_from_the_share_on(n: int, found: int) -> None:
    assert len(findings(held(use(n)), RULE)) == found


def test_open_connections_are_told_with_their_owners_and_what_they_have() -> None:
    found = finding(held(use(PORTS), failed=FEW, groups=(opened(80), opened(20, 8), opened(500, 8, OTHER_PEER))), RULE)
    assert (found.shape, found.confidence, found.severity) == ("open", "proven", "warning")
    assert pids(found, "holder") == [7, 8]
    assert [p.share for p in parties(found, "holder")] == [0.8, 0.2]
    assert not parties(found, "culprit")
    assert pids(found, "victim") == [7]
    assert [p.endpoint for p in parties(found, "peer")] == [PEER]
    assert [(e.value, e.limit) for e in found.evidence[:2]] == [(FEW, FEW), (PORTS, PORTS)]
    assert found.would_explain == ("connect-refused",)


def test_ports_in_time_wait_are_of_whoever_closes_first() -> None:
    found = finding(held(use(5, NEAR), closed=40, failed=FEW, groups=(opened(5),)), RULE)
    assert (found.shape, found.confidence) == ("time-wait", "proven")
    assert pids(found, "holder") == [8]
    assert "closed 40 of 40 connections first" in str(parties(found, "holder")[0].effect)
    assert any("tcp_tw_reuse" in str(r.command) for r in found.remedies)


@pytest.mark.parametrize(
    ("reuse", "to", "n"),
    [(0, PEER, 1), (1, PEER, 0), (2, PEER, 1), (2, Endpoint("127.0.0.1", 80), 0), (0, Endpoint("127.0.0.1", 80), 1)],
)
def test_time_wait_counts_where_no_connect_may_use_its_port_again(reuse: int, to: Endpoint, n: int) -> None:
    known = narrow(net_ipv4_tcp_tw_reuse=reuse)
    assert len(findings(held(use(0, PORTS, to=to), known=known), RULE)) == n


def test_ports_of_several_endpoints_are_not_summed() -> None:
    third = Endpoint("203.0.113.7", 443)
    (answer,) = judge(RULE, held(use(50), use(49, to=OTHER_PEER), use(48, to=third)))
    assert isinstance(answer, Cleared)
    assert [(e.value, e.limit) for e in answer.evidence] == [(50, PORTS), (0, None)]


def test_ports_that_are_listened_on_count_towards_every_endpoint() -> None:
    found = finding(held(use(30), bound=60), RULE)
    assert (found.shape, found.confidence) == ("bound", "likely")
    assert "has 90 of 100 local ports towards 203.0.113.9:443 taken, 60 of them bound" in found.title


def test_reserved_ports_are_not_available() -> None:
    known = narrow(reserved=40)
    found = finding(held(use(60), known=known), RULE)
    assert found.evidence[0].limit == 60
    assert any("40 ports out of the range" in line for line in found.explanation)


def test_near_the_end_at_the_last_reading_alone_is_possible_and_no_more() -> None:
    found = finding(held(use(PORTS), before=ports(use(10))), RULE)
    assert (found.confidence, found.severity) == ("possible", "info")
    assert found.would_explain == ()


def test_a_burst_that_ended_without_a_failure_is_no_finding() -> None:
    assert findings(held(use(10), before=ports(use(PORTS))), RULE) == []


def test_a_burst_that_made_connects_fail_is_a_finding_after_its_end() -> None:
    found = finding(held(use(10), before=ports(use(PORTS)), failed=FEW), RULE)
    assert (found.shape, found.confidence) == ("open", "proven")


@pytest.mark.parametrize(("failed", "n"), [(FEW - 1, 0), (FEW, 1)])
def test_connects_that_fail_with_ports_free_are_told_without_a_name(failed: int, n: int) -> None:
    found = findings(held(use(20), failed=failed, groups=(opened(20, 8),)), RULE)
    assert [(f.shape, f.confidence) for f in found] == [("unseen", "likely")] * n
    assert all(not parties(f, "holder") for f in found)


def test_an_owner_that_is_not_known_is_nobody() -> None:
    found = finding(held(use(PORTS), groups=(opened(PORTS, 99),)), RULE)
    assert [(p.role, p.netns) for p in found.parties if p.role != "peer"] == [("victim", NETNS)]


def test_without_bpf_only_what_is_taken_is_judged_and_said_so() -> None:
    (answer,) = judge(RULE, held(use(10), watched=False))
    assert isinstance(answer, Cleared)
    assert "was not watched" in answer.sensitivity
    assert finding(held(use(PORTS), watched=False), RULE).confidence == "likely"


def test_too_few_sockets_to_take_the_ports_are_cleared_with_their_number() -> None:
    (answer,) = judge(RULE, held())
    assert isinstance(answer, Cleared)
    assert (answer.evidence[0].value, answer.evidence[0].limit) == (0, PORTS)


def test_ports_that_could_not_be_read_are_not_checked() -> None:
    unread = ports(unread="netlink request 20: Operation not permitted")
    (answer,) = judge(RULE, node([{"ports": unread}], settings=narrow()))
    assert isinstance(answer, NotChecked)
    assert "not permitted" in answer.reason


@pytest.mark.parametrize("collector", ["ports", "settings"])
def test_without_ports_or_the_range_it_is_not_checked(collector: str) -> None:
    (answer,) = judge(RULE, at_each(held(use(PORTS)), collector, Failure(code="missing-file", reason="no")))
    assert isinstance(answer, NotChecked)


def test_many_endpoints_are_a_few_findings() -> None:
    uses = [use(PORTS, to=Endpoint(f"203.0.113.{n}", 443)) for n in range(9)]
    assert len(findings(held(*uses), RULE)) == ENTRY.limit("listed_endpoints")


def test_where_no_namespace_could_be_read_nobody_is_cleared() -> None:
    (answer,) = judge(RULE, node([{"ports": Ports(netns_unread=3)}] * 2, settings=narrow()))
    assert isinstance(answer, NotChecked)
    assert "none of 3 network namespaces" in answer.reason


def test_where_some_namespaces_could_not_be_read_nobody_is_cleared() -> None:
    def one(unread: int) -> dict[str, AnySample]:
        return {"ports": replace(ports(), netns_unread=unread)}

    (answer,) = judge(RULE, node([one(2), one(3)], settings=narrow()))
    assert isinstance(answer, NotChecked)
    assert "2 network namespaces could not be read" in answer.reason
    (once,) = judge(RULE, node([one(0), one(3)], settings=narrow()))
    assert isinstance(once, Cleared)
    assert "3 namespaces were not read" in once.sensitivity


@pytest.mark.parametrize(("few", "holders"), [(9, [7]), (10, [7, 8])])
def test_who_has_a_few_of_the_ports_is_a_bystander(few: int, holders: list[int]) -> None:
    found = finding(held(use(PORTS), groups=(opened(PORTS - few), opened(few, 8))), RULE)
    assert pids(found, "holder") == holders


def test_of_ports_that_are_spread_over_many_nobody_is_named() -> None:
    found = finding(held(use(PORTS), groups=(opened(5), opened(5, 8))), RULE)
    assert [p.role for p in found.parties] == ["victim", "peer"]
    assert "nobody alone has a large part" in str(found.parties[0].effect)


THIRD_PEER = Endpoint("203.0.113.7", 443)
SPREAD = (use(34), use(33, to=OTHER_PEER), use(33, to=THIRD_PEER))
EACH = (opened(34), opened(33, to=OTHER_PEER), opened(33, to=THIRD_PEER))


def test_ports_that_were_bound_first_are_taken_for_all_endpoints() -> None:
    found = finding(held(*SPREAD, sources=(source(PORTS),), groups=(*EACH, opened(5, 8))), RULE)
    assert (found.shape, found.confidence, found.severity) == ("bound-first", "likely", "warning")
    assert "100 of 100 local ports from 10.0.0.1 in use, each bound before its connect" in found.title
    assert (pids(found, "holder"), pids(found, "culprit")) == ([7], [])
    assert [(e.value, e.limit) for e in found.evidence[:2]] == [(PORTS, PORTS), (0, PORTS)]
    assert all("src 10.0.0.1" in e.repeat for e in found.evidence[:3])
    assert "IP_BIND_ADDRESS_NO_PORT" in found.remedies[-1].do


LOST = int(ENTRY.limit("max_shared") * PORTS)


@pytest.mark.parametrize(
    ("taken", "shared", "n"),
    [(PORTS, LOST, 1), (PORTS, LOST + 1, 0), (NEAR, 0, 1), (NEAR - 1, 0, 0), (PORTS // 2, PORTS // 2, 0)],
)
def test_connects_that_choose_their_own_ports_share_them_before_the_range_is_full(
    taken: int, shared: int, n: int
) -> None:
    assert len(findings(held(*SPREAD, sources=(source(taken, shared),), groups=EACH), RULE)) == n


def test_ports_that_one_endpoint_has_may_be_chosen_by_connects_themselves() -> None:
    assert finding(held(use(PORTS), sources=(source(PORTS),)), RULE).shape == "open"
    again = held(use(0, PORTS), sources=(source(PORTS, 0, PORTS),), known=narrow(net_ipv4_tcp_tw_reuse=1))
    assert findings(again, RULE) == []


def test_ports_that_were_bound_first_explain_connects_that_fail_to_anybody() -> None:
    found = finding(held(*SPREAD, sources=(source(PORTS),), groups=EACH, failed=FEW), RULE)
    assert (found.shape, found.confidence, found.would_explain) == ("bound-first", "proven", ("connect-refused",))
    assert (found.evidence[0].value, found.evidence[0].unit) == (FEW, "connects")
    assert pids(found, "victim") == [7]
    assert [p.endpoint for p in parties(found, "peer")] == [PEER]


def test_a_range_that_was_full_of_bound_ports_at_one_reading_is_possible_and_no_more() -> None:
    before = ports(use(10), sources=(source(10),))
    found = finding(held(*SPREAD, before=before, sources=(source(PORTS),), groups=EACH), RULE)
    assert (found.confidence, found.severity) == ("possible", "info")
    gone = held(use(10), before=ports(*SPREAD, sources=(source(PORTS),)), sources=(source(10),))
    assert findings(gone, RULE) == []


def test_bound_ports_in_time_wait_are_of_whoever_closes_first() -> None:
    waiting = (use(0, 50), use(0, 50, to=OTHER_PEER))
    found = finding(held(*waiting, sources=(source(PORTS, 0, PORTS),), closed=40), RULE)
    assert (found.shape, pids(found, "holder")) == ("bound-first", [8])


def test_bound_ports_of_nobody_known_are_nobodys() -> None:
    found = finding(held(*SPREAD, sources=(source(PORTS),)), RULE)
    assert [(p.role, p.netns) for p in found.parties] == [("victim", NETNS)]


def test_the_address_with_most_ports_is_told_when_all_is_well() -> None:
    (answer,) = judge(RULE, held(*SPREAD, sources=(source(70, 30),)))
    assert isinstance(answer, Cleared)
    assert [(e.value, e.limit) for e in answer.evidence] == [(34, PORTS), (70, PORTS), (30, 70), (0, None)]


HERE, HERE_TOO = Endpoint("127.0.0.1", 9000), Endpoint("127.0.0.1", 9001)
BOTH = (opened(50, 7, HERE), opened(50, 7, HERE_TOO), opened(50, 8), opened(50, 8, OTHER_PEER))


@pytest.mark.parametrize(("address", "holder"), [("127.0.0.1", 7), ("10.0.0.1", 8)])
@pytest.mark.parametrize("to", [HERE, PEER])
def test_ports_that_were_bound_to_one_address_are_no_connects_to_any_other(
    address: str, holder: int, to: Endpoint
) -> None:
    found = finding(held(use(10), sources=(source(PORTS, address=address),), groups=BOTH, failed=FEW, to=to), RULE)
    assert (found.shape, found.confidence, found.evidence[0].value) == ("bound-first", "proven", FEW)
    assert (pids(found, "holder"), pids(found, "victim")) == ([holder], [7])
    assert [p.endpoint for p in parties(found, "peer")] == [to]


@pytest.mark.parametrize(("address", "other", "n"), [
    ("127.0.0.1", "10.0.0.1", 1), ("127.0.0.1", "127.0.0.2", 0), ("10.0.0.1", "127.0.0.1", 1),
    ("10.0.0.1", "10.0.0.2", 0),
])  # fmt: skip
def test_whose_ports_they_are_is_known_where_no_like_address_is_in_use(address: str, other: str, n: int) -> None:
    sources = (source(PORTS, address=address), source(5, address=other))
    assert len(parties(finding(held(use(10), sources=sources, groups=BOTH), RULE), "holder")) == n


@pytest.mark.parametrize(("to", "holders"), [(HERE, [8]), (PEER, [])])
def test_who_closes_connections_of_another_kind_leaves_these_ports_to_others(to: Endpoint, holders: list[int]) -> None:
    waiting = (source(PORTS, 0, PORTS, address="127.0.0.1"),)
    assert pids(finding(held(use(10), sources=waiting, closed=40, to=to), RULE), "holder") == holders


def test_what_is_proven_is_listed_before_what_is_possible() -> None:
    sources = tuple(source(PORTS, address=f"10.0.0.{n}") for n in range(2, 5))
    found = findings(held(use(PORTS), before=ports(use(PORTS)), sources=sources, failed=FEW), RULE)
    assert [f.confidence for f in found] == ["proven", "possible", "possible"]
    assert (found[0].shape, len(found)) == ("open", ENTRY.limit("listed_endpoints"))
