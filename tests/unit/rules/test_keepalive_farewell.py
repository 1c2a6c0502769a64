"""keepalive-mismatch where a side says farewell before it closes, as TLS does."""

from __future__ import annotations

import pytest

from whodunnet.model.sockets import Endpoint

from .endings import FAR_SERVER, SERVER, accepted, initiated, watched
from .keepalives import FAILURES, LATE, RULE, closed, failed, reset, said
from .nodes import finding, parties

PROVEN = [("reused-too-late", "warning", "proven")]
LIKELY = [("reused-too-late", "warning", "likely")]
POSSIBLE = [("reused-too-late", "info", "possible")]


def test_a_farewell_that_answers_a_farewell_is_no_failure() -> None:
    assert said(watched(*closed(last_word=True), failed({5.02: 40}))) == []
    assert said(watched(*closed(last_word=True, to=FAR_SERVER, here=False), failed({5.4: 40}, to=FAR_SERVER))) == []


def test_later_than_a_farewell_comes_it_is_a_request() -> None:
    assert said(watched(*closed(last_word=True, to=FAR_SERVER, here=False), failed({5.6: 40}, to=FAR_SERVER))) == LIKELY


@pytest.mark.parametrize("to", [SERVER, FAR_SERVER], ids=["here", "elsewhere"])
def test_a_farewell_that_nobody_reads_ends_in_a_reset_that_harms_nobody(to: Endpoint) -> None:
    """A TLS server says farewell and closes; the client's process closes too, without having read it."""
    unread = initiated("reset-sent", {7.0: 40}, state="close-wait", to=to)
    there = [accepted("reset-received", {7.0: 40}, state="fin-wait-2", at=to)] if to == SERVER else []
    assert said(watched(*closed(last_word=True, here=to == SERVER, to=to, n=40), unread, *there)) == []


def test_a_farewell_that_the_server_does_not_read_harms_nobody_either() -> None:
    """A TLS client that closes first says so; Python's server closes without having read it."""
    client = [initiated("closed-here", {6.0: 40}, last_word=True), reset({0.0: 40}, state="fin-wait-2")]
    server = [accepted("closed-by-peer", {6.0: 40}), accepted("reset-sent", {0.0: 40}, state="close-wait")]
    assert said(watched(*client, *server)) == []


def test_on_one_node_a_late_farewell_is_reset_as_fast_as_a_request() -> None:
    assert said(watched(*closed(last_word=True), failed(LATE))) == POSSIBLE
    assert said(watched(*closed(last_word=True, here=False), failed(LATE))) == POSSIBLE
    far = closed(last_word=True, to=FAR_SERVER, here=False)
    assert said(watched(*far, failed(LATE, to=FAR_SERVER), addresses=None)) == POSSIBLE


@pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])
def test_requests_on_an_unread_farewell_are_told_but_not_proven(here: bool) -> None:
    """TLS, or an error that the database sends before it closes. What is written is known by its length only."""
    to = SERVER if here else FAR_SERVER
    node = watched(*closed(last_word=True, here=here, to=to), failed(LATE, asked=True, to=to))
    assert said(node) == LIKELY
    found = finding(node, RULE)
    assert [p.process.comm for p in parties(found, "culprit") if p.process] == ["app7"]
    statement = "Asked on after the server had closed, with its farewell unread, and reset; idle before for 5.30 to"
    assert found.evidence[1].statement.startswith(statement)
    assert [e.value for e in found.evidence[:4]] == pytest.approx([5.0, 9, 6.4, 1.4])


@pytest.mark.parametrize("seconds", [4.95, 5.0, 5.05, 5.3])
def test_requests_need_not_come_later_than_a_farewell_would(seconds: float) -> None:
    assert said(watched(*closed(last_word=True), failed({seconds: 4}, asked=True))) == LIKELY
    assert said(watched(*closed(last_word=True), failed({seconds: 4}))) == []
    assert said(watched(*closed(last_word=True), failed({2.0: FAILURES}, asked=True))) == []


@pytest.mark.parametrize(("n", "expected"), [(1, []), (FAILURES - 1, []), (FAILURES, LIKELY)])
def test_one_request_on_an_unread_farewell_may_be_chance(n: int, expected: list[object]) -> None:
    assert said(watched(*closed(last_word=True), failed({5.3: n}, asked=True))) == expected


def test_only_requests_are_counted_where_farewells_were_reset_as_well() -> None:
    node = watched(*closed(last_word=True), failed(LATE, asked=True), failed({8.0: 30}))
    assert said(node) == LIKELY
    assert finding(node, RULE).evidence[1].value == 9


def test_without_a_farewell_nothing_has_to_be_known_to_be_a_request() -> None:
    node = watched(*closed(), failed(LATE), failed({5.7: FAILURES}, asked=True))
    assert said(node) == PROVEN
    assert finding(node, RULE).evidence[1].value == 9 + FAILURES


def test_requests_of_a_client_that_is_not_known_are_told() -> None:
    groups = [*closed(owner_pid=None, comm="", last_word=True), failed(LATE, owner_pid=None, comm="", asked=True)]
    assert said(watched(*groups)) == LIKELY


@pytest.mark.parametrize(("asked", "there"), [(False, False), (True, True)])
def test_servers_that_close_unevenly_with_a_farewell_are_told_by_requests(asked: bool, there: bool) -> None:
    spread = {2.0: 3, 7.0: 3, 15.0: 3, 31.0: 3}
    closes = initiated("closed-by-peer", spread, last_word=True)
    assert [shape for shape, *_ in said(watched(closes, failed(spread, asked=asked)))] == ["closed-unevenly"] * there
