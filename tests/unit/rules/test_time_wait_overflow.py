"""time-wait-overflow: what the kernel counted within the window, and who closes first."""

from __future__ import annotations

import pytest

from whodunnet.model.connections import Connections
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.ports import NamespacePorts, Ports
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .endings import accepted, initiated
from .limited import PEER, namespace, node, settings
from .nodes import NETNS, at_each, finding, findings, parties, pids
from .queued import counters

RULE = "time-wait-overflow"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_overflows"))
SMALL = int(ENTRY.limit("small_limit"))
HERE = {"netns": NETNS, "client": "10.0.0.1"}


def closed(overflows: int, *, limit: int = 131_072, by: tuple[int, ...] = (40,), method: str = "bpf") -> Recording:
    """by: connections that app7, app8 closed first, each by another role."""
    ends = [
        initiated("closed-here", {0.1: by[0]}, owner_pid=7, comm="app7", to=PEER, **HERE),
        *(accepted("closed-here", {0.1: n}, owner_pid=8, comm="app8", at=PEER, **HERE) for n in by[1:]),
        initiated("closed-by-peer", {0.1: 9_000}, owner_pid=8, comm="app8", to=PEER, **HERE),
    ]
    first = Connections(groups=(), watched_seconds=1.0, method=method)  # type: ignore[arg-type]
    last = Connections(groups=tuple(ends), watched_seconds=4.0, method=method)  # type: ignore[arg-type]
    return node(
        [
            {"counters": counters(TcpExt_TCPTimeWaitOverflow=500), "connections": first},
            {"counters": counters(TcpExt_TCPTimeWaitOverflow=500 + overflows), "connections": last},
        ],
        settings=settings(namespace(net_ipv4_tcp_max_tw_buckets=limit)),
        ports=Ports(by_netns={NETNS: NamespacePorts(sockets=4, time_wait=limit)}),
    )


@pytest.mark.parametrize(("overflows", "n"), [(0, 0), (FLOOR - 1, 0), (FLOOR, 1)])
def test_a_few_beyond_the_limit_are_no_finding(overflows: int, n: int) -> None:
    assert len(findings(closed(overflows), RULE)) == n


@pytest.mark.parametrize(("limit", "shape"), [(5, "small-limit"), (SMALL - 1, "small-limit"), (SMALL, "churn")])
def test_a_limit_that_somebody_made_small_is_told_from_churn(limit: int, shape: str) -> None:
    found = finding(closed(FLOOR, limit=limit), RULE)
    assert (found.shape, found.confidence, found.severity) == (shape, "proven", "warning")
    assert [(e.value, e.limit) for e in found.evidence[:2]] == [(FLOOR, FLOOR), (limit, limit)]


def test_who_closes_most_of_them_first_is_named_whichever_end_it_is() -> None:
    assert pids(finding(closed(FLOOR, by=(20, 60)), RULE), "culprit") == [8]
    found = finding(closed(FLOOR, by=(60, 20)), RULE)
    assert pids(found, "culprit") == [7]
    assert "closed 60 of the 80 connections" in str(parties(found, "culprit")[0].effect)


def test_of_a_small_limit_whoever_closes_most_is_not_guilty() -> None:
    found = finding(closed(FLOOR, limit=5, by=(20, 60)), RULE)
    assert (pids(found, "culprit"), pids(found, "holder")) == ([], [8])


def test_an_unknown_limit_is_called_by_its_name() -> None:
    unknown = at_each(closed(FLOOR), "settings", Failure(code="unreadable", reason="no"))
    assert "a minute of them (net.ipv4.tcp_max_tw_buckets)" in finding(unknown, RULE).explanation[0]


def test_where_no_namespace_could_be_compared_nobody_is_cleared() -> None:
    elsewhere = [{"counters": counters(netns=n)} for n in (1, 2)]
    (answer,) = judge(RULE, node(elsewhere))
    assert isinstance(answer, NotChecked)


def test_who_closes_less_than_half_is_not_named() -> None:
    found = finding(closed(FLOOR, by=(40, 35, 35)), RULE)
    assert pids(found, "culprit") == [8]  # both groups are of one process
    few = closed(FLOOR, method="counters")
    assert [(p.role, p.netns) for p in finding(few, RULE).parties] == [("victim", NETNS)]


def test_without_overflows_it_is_cleared_with_the_number() -> None:
    (answer,) = judge(RULE, closed(3))
    assert isinstance(answer, Cleared)
    assert answer.evidence[0].value == 3


def test_one_reading_is_not_checked_if_there_ever_was_one_and_else_cleared() -> None:
    (ever,) = judge(RULE, node([{"counters": counters(TcpExt_TCPTimeWaitOverflow=4)}]))
    assert isinstance(ever, NotChecked)
    (never,) = judge(RULE, node([{"counters": counters()}]))
    assert isinstance(never, Cleared)


def test_without_counters_it_is_not_checked() -> None:
    (answer,) = judge(RULE, at_each(closed(FLOOR), "counters", Failure(code="missing-file", reason="no")))
    assert isinstance(answer, NotChecked)
