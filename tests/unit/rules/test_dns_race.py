"""dns-race: packets lost in a race for their entry, whose they may be, and what only looks like it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Cleared, NotApplicable, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue

from .nodes import answers, finding, findings, parties
from .tracking import ALIVE, HOST, NAMES, OTHER_POD, flow, pods, question, table, tables

RULE = "dns-race"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_packets"))
OLD = {"searched": 0, "insert_failed": 100, "drop": 7, "delete_list": 0}
NEW = {"clashres": 50, "insert_failed": 100, "drop": 7, "chainlength": 3}
DNS = question(20)


def rising(before: dict[str, int], *groups: FlowGroup, count: int = 100, **rises: int) -> Recording:
    """A table at two moments; rises: by how much each column rose."""
    after = before | {name: before[name] + n for name, n in rises.items()}
    return tables(*[table(*groups, count=count, statistics=statistics) for statistics in (before, after)])


def said(node: Recording) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(node, RULE)]


def not_checked(node: Recording) -> NotChecked:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, NotChecked)
    return answer


def cleared(node: Recording) -> Cleared:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, Cleared)
    return answer


def test_packets_lost_while_dns_is_translated_are_a_race_and_who_asks_is_named() -> None:
    node = rising(OLD, DNS, question(30, source=OTHER_POD), insert_failed=5, drop=5)
    found = finding(node, RULE)
    assert (found.shape, found.severity, found.confidence) == ("packet-lost", "warning", "likely")
    assert (found.claim, found.reason) == ("races", "DnsRace")
    assert pods(parties(found, "victim")) == ["batch", "web"]
    assert [p.endpoint for p in parties(found, "peer")] == [NAMES]
    assert parties(found, "culprit") == []
    assert found.evidence[0].value == 5
    assert any(r.do == "Take a kernel from 5.10 on" for r in found.remedies)
    assert all(r.risk for r in found.remedies)


@pytest.mark.parametrize(("packets", "number"), [(FLOOR - 1, 0), (FLOOR, 1)])
def test_fewer_packets_than_the_floor_are_chance(packets: int, number: int) -> None:
    assert len(findings(rising(OLD, DNS, insert_failed=packets, drop=packets), RULE)) == number


def test_a_kernel_that_solves_it_loses_nothing() -> None:
    node = rising(NEW, DNS, clashres=40)
    found = finding(node, RULE)
    assert (found.shape, found.severity, found.reason) == ("solved-by-kernel", "info", "DnsRaceSolved")
    assert "40 packets raced" in found.title
    assert all(r.do != "Take a kernel from 5.10 on" for r in found.remedies)


def test_an_old_kernel_counts_what_it_solved_as_failed_too() -> None:
    assert said(rising(OLD, DNS, insert_failed=40)) == [("solved-by-kernel", "info", "likely")]
    assert said(rising(OLD, DNS, insert_failed=40, drop=FLOOR)) == [("packet-lost", "warning", "likely")]


def test_the_old_column_is_not_the_new_one() -> None:
    assert said(rising(OLD, DNS, searched=1_000)) == []


def test_losses_on_a_kernel_that_solves_races_of_datagrams_are_hardly_of_dns() -> None:
    assert said(rising(NEW, DNS, insert_failed=5, drop=5)) == [("not-dns", "info", "likely")]
    assert said(rising(NEW, DNS, insert_failed=5, drop=5, clashres=50)) == [("packet-lost", "warning", "possible")]


def test_without_dns_it_is_another_collision() -> None:
    found = finding(rising(OLD, flow(Endpoint("203.0.113.5", 443), 50), insert_failed=5, drop=5), RULE)
    assert (found.shape, found.severity, found.reason, found.parties) == ("not-dns", "info", "InsertRace", ())


@pytest.mark.parametrize(("kept", "other_entries"), [((), 90), ((replace(DNS, merged=True, destination=None),), 0)])
def test_while_ports_were_not_kept_it_is_not_known_whether_dns_is_tracked(
    kept: tuple[FlowGroup, ...], other_entries: int
) -> None:
    columns = (OLD, OLD | {"insert_failed": 150, "drop": 57})
    found = [table(*kept, count=100, statistics=now, other_entries=other_entries) for now in columns]
    assert "the port was not kept" in not_checked(tables(*found)).reason


@pytest.mark.parametrize(
    "other",
    [
        question(20, answered_by=None),
        question(20, to=Endpoint("10.96.0.10", 5353)),
        question(20, protocol="tcp", state="established"),
    ],
)
def test_dns_that_is_not_translated_or_not_over_udp_does_not_race(other: FlowGroup) -> None:
    assert said(rising(OLD, other, insert_failed=5, drop=5)) == [("not-dns", "info", "likely")]
    assert said(rising(NEW, other, clashres=50)) == []


def test_races_without_dns_that_were_solved_are_said_where_it_is_cleared() -> None:
    assert "50 races were solved" in cleared(rising(NEW, clashres=50)).sensitivity


def test_dns_seen_at_any_moment_counts() -> None:
    moments = [table(DNS, statistics=OLD), table(statistics=OLD | {"insert_failed": 105, "drop": 12})]
    assert said(tables(*moments)) == [("packet-lost", "warning", "likely")]


def test_a_chain_that_is_too_long_is_no_race() -> None:
    assert said(rising(NEW, DNS, insert_failed=9, chainlength=9, drop=9)) == []


def test_drops_without_a_failed_insertion_are_no_race() -> None:
    assert said(rising(OLD, DNS, drop=900)) == []


@pytest.mark.parametrize(("count", "expected"), [(8_499, 1), (8_500, 0)])
def test_in_a_full_table_it_is_not_told(count: int, expected: int) -> None:
    node = rising(OLD, DNS, count=count, insert_failed=5, drop=5)
    assert len(findings(node, RULE)) == expected
    if not expected:
        assert "conntrack-table" in not_checked(node).reason


def test_a_table_without_limit_is_never_full() -> None:
    moments = [
        table(DNS, max_entries=0, statistics=OLD),
        table(DNS, max_entries=0, statistics=OLD | {"insert_failed": 109, "drop": 16}),
    ]
    assert said(tables(*moments)) == [("packet-lost", "warning", "likely")]


def test_nothing_that_rises_is_cleared_with_the_reading() -> None:
    answer = cleared(rising(OLD, DNS))
    assert answer.sensitivity == "3 or more such packets within 10.0 s"
    assert [e.value for e in answer.evidence] == [0, 0]


def test_one_reading_shows_no_rise_but_that_there_never_was_one() -> None:
    assert not_checked(tables(table(DNS, statistics=OLD))).code == "not-collected"
    assert "since this network namespace was made" in cleared(tables(table(DNS))).sensitivity


def test_counters_of_another_namespace_are_not_compared() -> None:
    node = tables(
        table(DNS, netns=HOST + 1, statistics=OLD),
        table(DNS, netns=HOST, statistics=OLD | {"insert_failed": 900, "drop": 900}),
    )
    assert not_checked(node).code == "not-collected"


def test_without_counters_it_is_not_checked() -> None:
    assert not_checked(tables(table(DNS, statistics={}))).code == "unreadable"


def test_without_entries_lost_packets_have_no_owner() -> None:
    why = Failure(code="missing-capability", reason="netlink: no", missing_capability="CAP_NET_ADMIN")
    before, after = OLD, OLD | {"insert_failed": 109, "drop": 16}
    blind = [table(dump_failure=why, statistics=statistics) for statistics in (before, after)]
    assert not_checked(tables(*blind)).missing_capability == "CAP_NET_ADMIN"


def test_without_tracking_it_does_not_apply() -> None:
    assert [type(a) for a in answers(tables(Conntrack(loaded=False)), RULE)] == [NotApplicable]


def test_the_order_of_groups_does_not_matter() -> None:
    groups = [DNS, question(30, source=OTHER_POD), question(2, answered_by=Endpoint("10.244.9.9", 53)), flow(ALIVE, 4)]
    given, turned = (rising(OLD, *g, insert_failed=5, drop=5) for g in (groups, list(reversed(groups))))
    assert findings(given, RULE) == findings(turned, RULE)


def test_a_counter_that_only_the_last_reading_has_has_not_risen() -> None:
    node = tables(table(DNS, statistics={"found": 1}), table(DNS, statistics=OLD | {"insert_failed": 900, "drop": 900}))
    assert findings(node, RULE) == []
