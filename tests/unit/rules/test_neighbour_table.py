"""neighbour-table: a full table of neighbours, who fills it, and tables that only look full."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.neighbours import Neighbours
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Workloads

from .nodes import NETNS, answers, finding, findings, parties, pids
from .suspects import HOST, asking, logged, neighbours, node, place, table

RULE = "neighbour-table"
SCAN = place(answered=20, unanswered=980, kept=64)


def scanned(*fulls: int, **also: object) -> Recording:
    readings = [neighbours(table(1000, n), SCAN, place(HOST, answered=12)) for n in fulls]
    return node("neighbours", readings, **also)  # type: ignore[arg-type]


def test_who_asks_for_addresses_that_nobody_has_is_named() -> None:
    found = finding(scanned(3, 3, 40, sockets=asking(900)), RULE)
    assert (found.shape, found.severity, found.confidence, found.claim) == (
        "unanswered", "critical", "proven", "floods",
    )  # fmt: skip
    assert pids(found, "culprit") == [7]
    assert found.evidence[0].value == 37
    assert "37 times" in found.title
    assert parties(found, "victim")[0].node == "n1"


def test_who_tried_half_of_the_addresses_that_were_kept_is_named_and_no_other() -> None:
    half = finding(scanned(3, 40, sockets=asking(32)), RULE)
    less = finding(scanned(3, 40, sockets=asking(31)), RULE)
    assert (pids(half, "culprit"), pids(less, "culprit")) == ([7], [])
    assert parties(less, "holder")[0].netns == NETNS


def test_of_readings_that_are_as_full_the_newest_is_looked_at() -> None:
    """Who asked for what was in the table when the window began has asked before it, and is not seen."""
    before = replace(SCAN, asked=tuple(f"10.9.9.{n}" for n in range(64)))
    for first, then, named in ((before, SCAN, [7]), (SCAN, before, [])):
        readings = [neighbours(table(1000, 3), first), neighbours(table(1000, 40), then)]
        assert pids(finding(node("neighbours", readings, sockets=asking(900)), RULE), "culprit") == named


@pytest.mark.parametrize(("entries", "named"), [(1001, [7]), (1052, [7]), (1053, [])])
def test_a_reading_with_hardly_fewer_entries_is_as_full(entries: int, named: list[int]) -> None:
    before = replace(SCAN, asked=tuple(f"10.9.9.{n}" for n in range(64)))
    readings = [neighbours(table(entries, 3), before), neighbours(table(1000, 40), SCAN)]
    assert pids(finding(node("neighbours", readings, sockets=asking(900)), RULE), "culprit") == named


def test_who_tries_other_addresses_is_not_named_however_many() -> None:
    found = finding(scanned(3, 40, sockets=asking(900, network="192.168")), RULE)
    assert parties(found, "culprit") == []


def test_of_two_that_try_the_same_addresses_neither_is_named() -> None:
    both = asking(900)
    both = replace(both, groups=(*both.groups, *asking(900, pid=8).groups))
    found = finding(scanned(3, 40, sockets=both), RULE)
    assert parties(found, "culprit") == []


def test_the_fullest_of_a_few_namespaces_that_could_be_read_is_not_named_for_all() -> None:
    readings = [neighbours(table(1024, n), place(answered=100), netns_unread=40) for n in (0, 9)]
    found = finding(node("neighbours", readings), RULE)
    assert (found.shape, [p.role for p in found.parties]) == ("spread", ["victim"])


def test_a_table_whose_limit_was_not_read_is_not_said_to_be_far_from_it() -> None:
    readings = [Neighbours(ipv4=table(10), ipv6=table(10, limit=None))] * 2
    (answer,) = answers(node("neighbours", readings), RULE)
    assert isinstance(answer, Cleared)
    assert "together (IPv4)" in answer.sensitivity


def test_a_process_that_nobody_knows_is_not_named() -> None:
    found = finding(scanned(3, 40, sockets=asking(900, pid=99)), RULE)
    assert parties(found, "culprit") == []


def test_where_the_pod_of_the_namespace_is_unknown_its_number_is_said() -> None:
    found = finding(scanned(3, 40, workloads=Workloads()), RULE)
    assert f"network namespace {NETNS}" in found.title
    assert parties(found, "holder")[0].netns == NETNS


def test_neighbours_that_have_answered_are_a_network_that_is_too_large() -> None:
    readings = [neighbours(table(1024, n), place(HOST, answered=1000), place(answered=24)) for n in (0, 9)]
    found = finding(node("neighbours", readings), RULE)
    assert (found.shape, found.severity, parties(found, "culprit")) == ("many", "critical", [])


def test_many_namespaces_with_a_few_each_are_nobodys() -> None:
    places = [place(netns, answered=10) for netns in range(5_000, 5_100)]
    readings = [neighbours(table(1024, n), *places) for n in (0, 9)]
    found = finding(node("neighbours", readings), RULE)
    assert (found.shape, [p.role for p in found.parties]) == ("spread", ["victim"])


@pytest.mark.parametrize(("entries", "near"), [(922, True), (921, False)])
def test_a_table_near_its_limit_is_a_warning_of_which_nobody_is_accused(entries: int, near: bool) -> None:
    readings = [neighbours(table(entries, 5), place(unanswered=entries))] * 2
    found = findings(node("neighbours", readings, sockets=asking(900)), RULE)
    assert [(f.severity, f.confidence, f.claim) for f in found] == ([("warning", "likely", "holds")] if near else [])
    assert not [p for f in found for p in parties(f, "culprit")]


def test_overflows_of_before_the_window_are_no_finding() -> None:
    (answer,) = answers(node("neighbours", [neighbours(table(300, 5_000))] * 3), RULE)
    assert isinstance(answer, Cleared)
    assert (answer.evidence[0].value, answer.evidence[0].limit, answer.evidence[1].value) == (300, 1024, 0)


def test_permanent_entries_do_not_count_against_the_limit() -> None:
    readings = [neighbours(table(3_000), place(answered=30, exempt=2_970))] * 2
    (answer,) = answers(node("neighbours", readings), RULE)
    assert isinstance(answer, Cleared)
    assert answer.evidence[0].value == 30


def test_a_line_of_the_log_within_the_window_is_enough() -> None:
    readings = [neighbours(table(900, None))] * 2
    within = node("neighbours", readings, kernel_log=logged("neighbour-table-full", 1.0))
    before = node("neighbours", readings, kernel_log=logged("neighbour-table-full", -9.0))
    other = node("neighbours", readings, kernel_log=logged("neighbour-table-full-ipv6", 1.0))
    assert finding(within, RULE).severity == "critical"
    assert [isinstance(answers(one, RULE)[0], Cleared) for one in (before, other)] == [True, True]


def test_ipv6_has_a_table_of_its_own() -> None:
    places = (place(answered=1024, family=6),)
    readings = [Neighbours(ipv4=table(10), ipv6=table(1024, n), places=places, places_of=(6,)) for n in (0, 4)]
    found = finding(node("neighbours", readings), RULE)
    assert "IPv6" in found.title
    assert "net.ipv6.neigh" in str(found.remedies[1].command)


def test_one_reading_shows_no_rise() -> None:
    (answer,) = answers(node("neighbours", [neighbours(table(300, 7))]), RULE)
    assert isinstance(answer, NotChecked)
    assert "look for longer" in answer.reason
    assert isinstance(answers(node("neighbours", [neighbours(table(300, 0))]), RULE)[0], Cleared)


def test_one_reading_of_a_full_table_is_only_possible() -> None:
    found = finding(node("neighbours", [neighbours(table(1024, 7))]), RULE)
    assert (found.severity, found.confidence) == ("info", "possible")


def test_where_the_kernel_shows_no_table_it_is_not_checked() -> None:
    (answer,) = answers(node("neighbours", [Failure(code="missing-file", reason="first namespace only")]), RULE)
    assert isinstance(answer, NotChecked)
    (answer,) = answers(node("neighbours", [neighbours(table(9, None, None))] * 2), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.code == "unsupported"
