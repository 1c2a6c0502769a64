"""syn-queue: SYNs dropped, or answered by cookies that nobody answers; whose queue it is, never who sends."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.sample import Failure
from whodunnet.model.settings import Settings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .nodes import FROM_BOOT, NETNS, at_each, finding, findings, pids
from .queued import PORT, counters, node, queue, sockets

RULE = "syn-queue"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_syns"))
SHARE = ENTRY.limit("answered_share")
ONE = sockets(queue(0, 128, requests=3))
TWO = sockets(queue(0, 128), queue(0, 128, pid=8, port=9_090))


def met(
    dropped: int = 0, cookies: int = 0, answered: int = 0, *, found: Sockets | None = ONE, log: KernelLog | None = None
) -> Recording:
    """What the counters rose by."""
    before = {"TcpExt_TCPReqQFullDrop": 500, "TcpExt_TCPReqQFullDoCookies": 700, "TcpExt_SyncookiesRecv": 30}
    rises = (dropped, cookies, answered)
    after = {name: value + rise for (name, value), rise in zip(before.items(), rises, strict=True)}
    return node(
        [(counters(**before), found), (counters(**after, TcpExt_SyncookiesSent=cookies), found)], log=log
    )  # fmt: skip


def line(port: str, seconds: float = 1.0) -> KernelLog:
    text = f"request_sock_TCP: Possible SYN flooding on port {port}. Sending cookies."
    lines = (LogLine("syn-flooding", FROM_BOOT + seconds, text),)
    return KernelLog(source="/dev/kmsg", reaches_back_seconds=None, lines=lines)


def test_dropped_syns_are_told_with_their_number_and_the_only_listener() -> None:
    found = finding(met(dropped=FLOOR), RULE)
    assert (found.shape, found.confidence, found.severity) == ("dropped", "likely", "warning")
    assert pids(found, "victim") == [7]
    assert [(e.value, e.limit) for e in found.evidence] == [(FLOOR, FLOOR), (3, 128)]
    assert found.title.startswith(f"app7 at 10.0.0.1:{PORT} has no room for half-open connections: {FLOOR} SYNs")


@pytest.mark.parametrize(("dropped", "n"), [(FLOOR - 1, 0), (FLOOR, 1)])
def test_a_few_syns_are_no_finding(dropped: int, n: int) -> None:
    assert len(findings(met(dropped=dropped), RULE)) == n


@pytest.mark.parametrize(("answered", "n"), [(0, 1), (int(SHARE * 100) - 1, 1), (int(SHARE * 100), 0), (100, 0)])
def test_cookies_are_a_finding_if_most_of_them_do_not_come_back(answered: int, n: int) -> None:
    found = findings(met(cookies=100, answered=answered), RULE)
    assert [f.shape for f in found] == ["cookies"] * n


def test_a_queue_that_was_seen_full_is_proven_to_be_the_one() -> None:
    full = sockets(queue(0, 128, requests=128), queue(0, 128, pid=8, port=9_090, requests=127))
    found = finding(met(cookies=100, found=full), RULE)
    assert (found.confidence, pids(found, "victim")) == ("proven", [7])
    assert (found.evidence[2].value, found.evidence[2].limit, found.evidence[2].comparison) == (128, 128, ">=")


def test_of_two_listeners_neither_is_named_without_more() -> None:
    found = finding(met(cookies=100, found=TWO), RULE)
    assert [(p.role, p.netns, p.endpoint) for p in found.parties] == [("victim", NETNS, found.parties[0].endpoint)]
    assert "app" not in found.title


def test_a_listener_of_ipv4_and_ipv6_is_one() -> None:
    both = sockets(queue(0, 128), replace(queue(0, 128), local=Endpoint("::", PORT)))
    assert pids(finding(met(cookies=100, found=both), RULE), "victim") == [7]


def test_the_only_listener_that_was_read_is_not_named_where_there_are_more() -> None:
    found = finding(met(cookies=100, found=replace(ONE, listeners_cut=True)), RULE)
    assert not pids(found, "victim")[0]


def test_a_counter_that_this_kernel_has_not_clears_nobody() -> None:
    unknown = replace(counters(), known=())
    for readings in ([(unknown, ONE)], [(unknown, ONE)] * 2, [(counters(netns=1), None), (counters(netns=2), None)]):
        (answer,) = judge(RULE, node(readings))
        assert isinstance(answer, NotChecked)


@pytest.mark.parametrize("port", ["9090", "10.0.0.1:9090", "[::]:9090"])
def test_the_kernels_line_within_the_window_tells_which(port: str) -> None:
    found = finding(met(cookies=100, found=TWO, log=line(port)), RULE)
    assert (pids(found, "victim"), found.confidence, found.evidence[-1].value) == ([8], "likely", 9090)


def test_a_line_from_before_the_window_tells_nothing() -> None:
    assert not pids(finding(met(cookies=100, found=TWO, log=line("9090", -1)), RULE), "victim")[0]


def test_a_quiet_node_is_cleared_with_the_numbers_of_the_window() -> None:
    (answer,) = judge(RULE, met())
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0, 0]


def test_one_reading_is_not_checked_if_there_ever_was_one_and_else_cleared() -> None:
    (ever,) = judge(RULE, node([(counters(TcpExt_TCPReqQFullDrop=4), ONE)]))
    assert isinstance(ever, NotChecked)
    assert "4 SYNs" in ever.reason
    (never,) = judge(RULE, node([(counters(), ONE)]))
    assert isinstance(never, Cleared)


def test_without_counters_it_is_not_checked() -> None:
    (answer,) = judge(RULE, at_each(met(), "counters", Failure(code="missing-file", reason="no")))
    assert isinstance(answer, NotChecked)


def test_a_namespace_that_was_not_read_is_said_where_all_else_is_cleared() -> None:
    (answer,) = judge(RULE, node([(counters(), ONE), (counters(unread=2), ONE)]))
    assert isinstance(answer, Cleared)
    assert "2 namespaces were not read" in answer.sensitivity


@pytest.mark.parametrize(
    "rule", ["syn-queue", "accept-queue", "udp-buffers", "time-wait-overflow", "rp-filter", "forwarding-off"]
)
@pytest.mark.parametrize("readings", [1, 3])
def test_nobody_is_cleared_where_a_namespace_could_not_be_read_all_the_time(rule: str, readings: int) -> None:
    found = at_each(node([(counters(unread=2), ONE)] * readings), "settings", Settings())
    (answer,) = judge(rule, found)
    assert isinstance(answer, NotChecked)
    assert (answer.code, "2 network namespaces could not be read" in answer.reason) == ("unreadable", True)


def test_cookies_let_real_clients_in_and_explain_no_failing_connect() -> None:
    assert finding(met(cookies=100), RULE).would_explain == ()
    assert "connect-timeout" in finding(met(dropped=100), RULE).would_explain
