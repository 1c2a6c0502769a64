"""keepalive-mismatch: what is a failed reuse and what only resembles one, each threshold from both sides."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.addresses import Addresses
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.finding import NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process

from .endings import CLIENT_PID, FAR_CLIENT, FAR_SERVER, Times, accepted, initiated, watched
from .keepalives import (
    ENTRY,
    FAILURES,
    FORGOTTEN,
    LATE,
    RULE,
    cleared,
    closed,
    failed,
    late_data,
    not_checked,
    reset,
    said,
)
from .nodes import answers, at_each, finding, findings, parties

PROVEN = [("reused-too-late", "warning", "proven")]
LIKELY = [("reused-too-late", "warning", "likely")]
POSSIBLE = [("reused-too-late", "info", "possible")]
WAY = "forgotten-on-the-way"
FAR = int(ENTRY.limit("min_far"))
MET = accepted("closed-by-peer", {0.1: 9})
"""The server's own end, which tells that nothing on the way answers in its place."""


def test_writes_after_the_servers_close_are_proven_with_both_sides_and_how_late_they_were() -> None:
    found = finding(watched(*closed(), failed(LATE), initiated("opened", {0.02: 9})), RULE)
    assert (found.shape, found.severity, found.confidence) == ("reused-too-late", "warning", "proven")
    assert (found.claim, found.reason) == ("reuses-too-late", "ReusedTooLate")
    said_of = [e.statement for e in found.evidence]
    assert "default/batch (app8) at 10.244.0.6:8000 closes: the median of 20 of its 20 closes" in said_of[0]
    assert "reset; idle before for 5.30 to 6.40 s, median 6.40 s" in said_of[1]
    assert said_of[2:4] == ["Longest idle time before such a write", "It exceeds the limit by"]
    assert [e.value for e in found.evidence[:4]] == pytest.approx([5.0, 9, 6.4, 1.4])
    assert (found.evidence[2].limit, found.evidence[2].comparison) == (5.0, ">")
    assert found.title == (
        "default/web (app7) uses idle connections again too late: default/batch (app8) at 10.244.0.6:8000 closes them "
        "after 5.0 s, and 9 were reset"
    )


def test_a_pool_that_lingers_in_close_wait_until_it_looks_is_no_finding() -> None:
    """It closes what the server has closed, and writes nothing."""
    answer = cleared(watched(*closed()))
    assert [e.value for e in answer.evidence] == [0, pytest.approx(5.0)]
    assert "default/batch (app8) at 10.244.0.6:8000" in answer.evidence[1].statement


def test_a_pool_that_closes_first_is_no_finding() -> None:
    answer = cleared(watched(initiated("closed-here", {4.0: 50}), accepted("closed-by-peer", {4.0: 50})))
    assert len(answer.evidence) == 1


def test_connection_close_is_no_finding() -> None:
    """A client that still sends at that moment is reset too, and that is not by a pause."""
    assert cleared(watched(*closed(0.01, 500), failed({0.01: 50}))).evidence[0].value == 50


@pytest.mark.parametrize(("n", "expected"), [(1, POSSIBLE), (FAILURES - 1, POSSIBLE), (FAILURES, PROVEN)])
def test_one_failure_may_be_chance(n: int, expected: list[object]) -> None:
    assert said(watched(*closed(), failed({6.0: n}))) == expected


@pytest.mark.parametrize("times", [{5.0: 9}, {4.95: 9}, {5.05: 40}, {5.0: 9, 6.0: FAILURES - 1}])
def test_writes_right_after_the_close_may_be_farewells_that_answer_it(times: Times) -> None:
    """A TLS client says farewell when the server closes; the server has said none."""
    node = watched(*closed(), failed(times))
    assert said(node) == POSSIBLE
    assert parties(finding(node, RULE), "culprit") == []
    assert any("right after" in line for line in finding(node, RULE).explanation) == (6.0 not in times)
    assert said(watched(*closed(), failed({**times, 6.0: FAILURES}))) == PROVEN


def test_writes_before_the_limit_have_another_reason() -> None:
    """The server was restarted, or had answered as many requests as it wants to."""
    assert said(watched(*closed(), failed({2.0: 2}))) == []


def test_a_client_that_is_not_known_is_named_by_its_address_and_never_proven() -> None:
    groups = [*closed(owner_pid=None, comm=""), failed(LATE, owner_pid=None, comm="")]
    assert said(watched(*groups)) == LIKELY


def test_networks_with_the_same_addresses_have_each_its_own_servers() -> None:
    """One keeps for 5 s, the other for 10 s; as networks of Docker that do not know of each other."""
    place = {"client": "172.18.0.3", "to": Endpoint("172.18.0.2", 8000)}
    one, other = ({**place, "netns": netns, "owner_pid": pid} for netns, pid in ((1001, 7), (1003, 9)))
    first = initiated("closed-by-peer", {5.0: 30}, **one)
    late = finding(watched(first, initiated("closed-by-peer", {10.0: 7}, **other), failed({10.6: 4}, **other)), RULE)
    assert [e.value for e in late.evidence[:4]] == pytest.approx([10.0, 4, 10.6, 0.6])


def test_servers_with_the_same_address_are_told_apart_by_where_they_are() -> None:
    at = Endpoint("172.18.0.2", 8000)
    here = [accepted("closed-here", {5.0: 30}, at=at, netns=1002, client="172.18.0.3")]
    there = [accepted("closed-here", {20.0: 30}, at=at, netns=1004, client="172.18.0.4")]
    answer = cleared(watched(*here, *there))
    assert sorted(e.value or 0 for e in answer.evidence[1:]) == [pytest.approx(5.0), pytest.approx(20.0)]


# --- Writes that cross the close ---------------------------------------------------------------------------------


def test_writes_that_cross_the_close_are_told_where_the_server_is_seen() -> None:
    """At the server nothing had moved for 5 s, at the client just now."""
    here = [initiated("closed-by-peer", {5.0: 10, 0.001: 6}), failed({0.001: 6})]
    assert said(watched(*here, accepted("closed-here", {5.0: 16}))) == LIKELY


def test_a_close_in_the_middle_of_an_upload_is_no_crossing() -> None:
    here = [initiated("closed-by-peer", {5.0: 10, 0.001: 6}), failed({0.001: 6})]
    assert said(watched(*here, accepted("closed-here", {5.0: 10, 0.001: 6}))) == []


def test_of_a_server_out_of_sight_crossing_writes_are_not_told() -> None:
    here = [initiated("closed-by-peer", {5.0: 10, 0.001: 6}, to=FAR_SERVER), failed({0.001: 6}, to=FAR_SERVER)]
    assert said(watched(*here)) == []


def test_a_request_that_the_server_closed_on_unread_is_reset_in_place_of_a_close() -> None:
    groups = [*closed(), reset({5.01: 3}), accepted("reset-sent", {0.0: 3})]
    assert said(watched(*groups)) == LIKELY


def far_apart(times: Times, *, late: int = 9, **state: Any) -> list[ConnectionGroup]:
    """Connecting takes 0.3 s. The client takes the close for an answer and closes as well; then it is reset."""
    client = [initiated("opened", {0.3: 20}), initiated("closed-by-peer", {5.0: 10, 0.15: 9})]
    server = [accepted("closed-here", {5.0: 19}, **state), late_data(late, state="close")]
    return [*client, *server, failed(times, state="last-ack")]


def test_a_request_that_met_the_close_on_a_long_way_is_reset_when_the_client_has_closed() -> None:
    found = finding(watched(*far_apart({4.77: 4, 4.85: 5})), RULE)
    assert (found.shape, found.severity, found.confidence) == ("reused-too-late", "warning", "likely")
    assert "closes them after 5.0 s, and 9 were reset" in found.title
    (culprit,) = parties(found, "culprit")
    assert isinstance(culprit.process, Process)
    assert culprit.process.pid == CLIENT_PID


@pytest.mark.parametrize("times", [{4.95: 9}, {5.05: 9}, {5.3: 9}, {4.55: 9}, {2.0: 9}, {0.15: 9}])
def test_what_is_reset_after_both_have_closed_may_be_the_answer_to_a_close(times: Times) -> None:
    """Its own close or a farewell; what was written too early for that did not meet a close for being idle."""
    assert said(watched(*far_apart(times))) == []


@pytest.mark.parametrize(("late", "expected"), [(0, []), (1, POSSIBLE), (2, LIKELY)])
def test_who_was_reset_after_both_had_closed_wrote_no_more_than_the_server_met(late: int, expected: object) -> None:
    assert said(watched(*far_apart({4.85: 9}, late=late))) == expected


def test_of_a_server_that_says_farewell_no_early_writes_are_told_apart() -> None:
    assert said(watched(*far_apart({4.85: 9}, last_word=True))) == []


# --- What lies between -------------------------------------------------------------------------------------------


def test_connections_that_nobody_closed_are_forgotten_in_between() -> None:
    node = watched(reset({4.7: 10, 5.9: 12}))
    assert said(node) == [(WAY, "warning", "likely")]
    assert "used after 4.7 s or more" in finding(node, RULE).title


@pytest.mark.parametrize(("n", "there"), [(FORGOTTEN - 1, False), (FORGOTTEN, True)])
def test_a_few_resets_say_little(n: int, there: bool) -> None:
    assert bool(said(watched(reset({6.0: n}), MET, moments=8))) == there


@pytest.mark.parametrize(("seconds", "there"), [(0.9, False), (1.1, True)])
def test_resets_without_a_pause_have_another_cause(seconds: float, there: bool) -> None:
    assert bool(said(watched(reset({seconds: 9}), MET))) == there


@pytest.mark.parametrize(("busy", "there"), [(2, False), (1, True)])
def test_resets_that_also_meet_connections_in_use_have_another_cause(busy: int, there: bool) -> None:
    assert bool(said(watched(reset({6.0: 9, 0.01: busy}), MET, moments=2 + 9))) == there


def test_a_restart_resets_everything_at_once_and_is_over() -> None:
    assert said(watched(reset({6.0: 9, 8.0: 9}), moments=7, begin=0.4, end=0.5)) == []


@pytest.mark.parametrize("ending", ["reset-sent", "timed-out", "broken"])
def test_a_server_that_resets_by_itself_is_not_in_between(ending: str) -> None:
    assert said(watched(reset({6.0: 9}), accepted(ending, {6.0: 9}))) == []  # type: ignore[arg-type]


def test_ends_that_were_not_kept_may_be_the_servers_own_resets() -> None:
    assert said(watched(reset({4.7: 3, 5.9: 4}), MET)) == [(WAY, "warning", "likely")]
    assert said(watched(reset({4.7: 3, 5.9: 4}))) == [(WAY, "info", "possible")]
    assert said(watched(reset({4.7: 3, 5.9: 4}), MET, lost={"reset-sent": 3})) == [(WAY, "info", "possible")]


@pytest.mark.parametrize(("times", "expected"), [
    ({4.7: FAR - 5, 5.9: 4}, "possible"), ({4.7: FAR - 5, 5.9: 5}, "likely"),  # how many
    ({2.4: 1, 4.9: 10, 6.2: 9}, "possible"), ({2.5: 1, 4.9: 10, 6.2: 9}, "likely"),  # never for less than so long
])  # fmt: skip
def test_what_a_server_out_of_sight_did_not_close_has_a_shortest_time(times: Times, expected: str) -> None:
    (answer,) = said(watched(reset(times, to=FAR_SERVER)))
    assert answer == (WAY, "warning" if expected == "likely" else "info", expected)


def test_a_timer_out_of_sight_resets_after_times_that_are_alike() -> None:
    """Used again or not: nobody can tell."""
    assert said(watched(reset({6.0: 30}, to=FAR_SERVER))) == []


def test_a_server_that_closes_sooner_than_that_is_not_forgotten() -> None:
    assert said(watched(*closed(3.0), reset({6.0: 9}))) == []


# --- Others ------------------------------------------------------------------------------------------------------


def test_closes_without_a_time_in_common_are_only_worth_knowing() -> None:
    uneven = {0.6 + 0.9 * n: 1 for n in range(60)}
    groups = [initiated("closed-by-peer", uneven, to=FAR_SERVER), failed({3.0: 5, 20.0: 5}, to=FAR_SERVER)]
    assert said(watched(*groups)) == [("closed-unevenly", "info", "possible")]
    assert said(watched(*groups, moments=7, begin=0.4, end=0.5)) == []


def test_data_that_comes_late_from_elsewhere_is_only_worth_knowing() -> None:
    """It may be a farewell, which harms nobody."""
    idle = accepted("closed-here", {5.0: 20}, client=FAR_CLIENT)
    node = watched(idle, late_data(9, client=FAR_CLIENT))
    assert said(node) == [("client-out-of-sight", "info", "possible")]
    assert FAR_CLIENT in finding(node, RULE).title
    assert said(watched(idle, late_data(9, client=None), initiated("opened", {0.001: 400}))) == []


def test_late_data_after_closes_in_the_middle_of_something_says_nothing() -> None:
    closes = accepted("closed-here", {5.0: 20, 0.01: 9}, client=FAR_CLIENT)
    assert said(watched(closes, late_data(9 + FORGOTTEN - 1, client=FAR_CLIENT))) == []
    assert said(watched(closes, late_data(9 + FORGOTTEN, client=FAR_CLIENT))) != []


def test_late_data_after_a_farewell_says_nothing() -> None:
    closes = accepted("closed-here", {5.0: 20}, client=FAR_CLIENT, last_word=True)
    assert said(watched(closes, late_data(40, client=FAR_CLIENT))) == []


def test_an_endpoint_whose_client_is_named_needs_no_guess_at_others() -> None:
    groups = [*closed(), failed(LATE), accepted("closed-here", {5.0: 9}, client=FAR_CLIENT)]
    assert said(watched(*groups, late_data(9, client=FAR_CLIENT))) == PROVEN


# --- Windows -----------------------------------------------------------------------------------------------------


def test_what_happened_before_the_window_is_no_finding() -> None:
    assert cleared(watched(*closed(), failed(LATE), begin=-2.0, end=-1.0)).evidence[0].value == 0


def test_one_reading_shows_nothing() -> None:
    assert not_checked(watched(*closed(), failed(LATE), moments=1)).code == "not-collected"


def test_without_bpf_it_is_not_checked_and_says_what_is_missing() -> None:
    answer = not_checked(watched(method="counters", fallback_reason="no right", missing_capability="CAP_BPF"))
    assert (answer.code, answer.missing_capability) == ("missing-capability", "CAP_BPF")
    assert "no right" in answer.reason


def test_without_the_collector_it_is_not_checked() -> None:
    failure = Failure(code="unsupported", reason="no BPF here")
    (answer,) = answers(at_each(watched(), "connections", failure), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.reason == "no BPF here"


@pytest.mark.parametrize(("lost", "answer"), [(4, "Cleared"), (5, "NotChecked")])
def test_nobody_is_cleared_where_too_much_was_not_kept(lost: int, answer: str) -> None:
    node = watched(*closed(n=20), lost={"closed-by-peer": lost})
    assert [type(a).__name__ for a in answers(node, RULE)] == [answer]


@pytest.mark.parametrize(("merged", "answer"), [(4, "Cleared"), (5, "NotChecked")])
def test_nobody_is_cleared_where_too_much_was_merged_without_its_time(merged: int, answer: str) -> None:
    node = watched(*closed(n=20), failed(merged, client=None), moments=2)
    assert [type(a).__name__ for a in answers(node, RULE)] == [answer]


def test_the_largest_mismatches_are_listed_and_the_others_counted() -> None:
    most = int(ENTRY.limit("listed_pairs"))
    places = [Endpoint("10.244.0.6", 8000 + n) for n in range(most + 2)]
    groups = [g for n, to in enumerate(places) for g in (*closed(to=to), failed({6.0: 3 + n}, to=to))]
    found = findings(watched(*groups), RULE)
    assert len(found) == most
    assert len({f.id for f in found}) == most
    assert all("2 more pairs" in f.explanation[-1] for f in found)


def test_without_addresses_both_ends_are_found_all_the_same() -> None:
    assert said(watched(*closed(), failed(LATE), addresses=None)) == PROVEN
    assert said(watched(*closed(), failed(LATE), addresses=Addresses())) == PROVEN


def test_a_server_elsewhere_that_many_namespaces_ask_is_listed_once() -> None:
    groups = [initiated("closed-by-peer", {5.0: 9 + netns}, to=FAR_SERVER, netns=netns) for netns in (1, 2, 3)]
    assert [e.value for e in cleared(watched(*groups)).evidence] == [0, pytest.approx(5.0)]


def test_the_servers_of_a_quiet_node_are_listed_with_their_timeouts() -> None:
    most = int(ENTRY.limit("listed_endpoints"))
    groups = [g for n in range(most + 2) for g in closed(2.0 + 5 * n, 10 + n, to=Endpoint("10.244.0.6", 8000 + n))]
    answer = cleared(watched(*groups))
    assert [e.value for e in answer.evidence[1:]] == [pytest.approx(2.0 + 5 * (most + 1 - n)) for n in range(most)]
