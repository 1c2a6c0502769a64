"""Every case says what it is, without being started."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.catalogue import find, names
from lab.faults.dns_names_in_turn import DnsNamesInTurn
from lab.faults.dns_race import ENOUGH, DnsRace
from lab.load import AAAA, question
from lab.look import parse
from lab.table import Entries, Entry, parse_counted, parse_entry, parse_statistics

LIVE_TESTS = Path(__file__).parents[2] / "netns"
SHOWN_BY = {
    ("look-alike", "rx-stall"): "test_rx_stall.py::test_a_hog_in_user_mode_that_keeps_no_packet_waiting_is_no_finding",
    ("fault", "cpu-throttled"): "test_cpu_quota.py::test_a_server_whose_quota_is_used_up_while_requests_wait_is_found",
    ("look-alike", "cpu-throttled"): (
        "test_cpu_quota.py::test_who_uses_up_a_quota_and_lets_nobody_wait_is_cleared_with_the_number"
    ),
    ("fault", "accept-queue"): "test_queues.py::test_a_listener_that_accepts_nothing_is_named",
    ("look-alike", "accept-queue"): (
        "test_queues.py::test_a_burst_that_fits_and_an_overflow_before_the_window_are_no_findings"
    ),
    ("fault", "retransmits"): (
        "test_retransmits.py::test_the_destination_to_which_segments_are_lost_is_named_with_its_owner"
    ),
    ("look-alike", "retransmits"): "test_retransmits.py::test_a_moment_of_loss_is_no_finding",
    ("fault", "port-exhaustion"): "test_ports.py::test_ports_that_open_connections_have_are_told_with_their_owner",
    ("look-alike", "port-exhaustion"): ("test_ports.py::test_as_many_connections_to_three_endpoints_are_no_finding"),
    ("fault", "rp-filter"): "test_drops.py::test_a_strict_check_is_told_with_its_device",
    ("look-alike", "rp-filter"): "test_drops.py::test_a_strict_check_that_drops_next_to_nothing_is_no_finding",
    ("fault", "dns"): "test_dns.py::test_a_name_server_that_never_answers_is_named_and_who_waits_for_it",
    ("look-alike", "dns"): "test_dns.py::test_a_silent_second_server_that_nobody_needs_is_none",
    ("fault", "descriptor-limit"): (
        "test_limits.py::test_a_server_that_can_accept_nothing_more_is_named_with_who_waits"
    ),
    ("look-alike", "descriptor-limit"): "test_limits.py::test_a_pool_at_half_of_its_limit_is_not_named",
    ("look-alike", "neighbour-table"): "test_limits.py::test_a_table_with_room_is_cleared_with_its_limit",
    ("fault", "cpu-pressure"): "test_cpu_pressure.py::test_who_takes_all_cpus_while_others_wait_is_named",
    ("look-alike", "cpu-pressure"): "test_cpu_pressure.py::test_who_takes_what_is_left_over_is_no_culprit",
    ("fault", "settings"): "test_ports.py::test_a_small_range_is_a_setting_worth_knowing",
    ("look-alike", "settings"): "test_ports.py::test_what_the_kernel_sets_by_itself_is_no_setting_worth_knowing",
}
"""By kind and first rule of the cases: the live test that is run in their place by `make test`."""


@pytest.mark.parametrize("name", names())
def test_a_case_has_a_story_and_a_kind(name: str) -> None:
    case = find(name)()
    assert case.name == name
    assert case.story
    assert case.kind in ("fault", "look-alike")
    assert case.window_seconds > 0
    assert {"socket-leak", "tcp-memory"} <= {*case.rules}


def test_what_a_case_shows_is_shown_in_make_test_too() -> None:
    """Of its kind one is quick with its rules, or all that come before what it adds; or a test of tests/netns makes its
    first rule real in less time."""
    cases = [find(name)() for name in names()]
    quick = [(case.kind, case.rules) for case in cases if case.quick]
    unseen = [
        case.name
        for case in cases
        if not any(case.kind == kind and case.rules[: len(rules)] == rules for kind, rules in quick)
        and (case.kind, case.rules[0]) not in SHOWN_BY
    ]
    assert unseen == []


@pytest.mark.parametrize(("kind", "rule"), SHOWN_BY)
def test_what_shows_it_in_place_of_a_case_is_there(kind: str, rule: str) -> None:
    file, _, name = SHOWN_BY[kind, rule].partition("::")
    text = (LIVE_TESTS / file).read_text()
    assert f"def {name}(" in text
    assert f'"{rule}"' in text


@pytest.mark.parametrize("incident", [1, 2, 3, 4, 5])
def test_every_incident_is_made_real_in_make_test(incident: int) -> None:
    cases = [find(name)() for name in names() if find(name).quick]
    assert [case.name for case in cases if case.kind == "fault" and f"ncident {incident}" in case.story]


def test_the_quick_cases_take_minutes() -> None:
    """`make test` waits for them: what comes in has to take the place of another."""
    quick = [find(name) for name in names() if find(name).quick]
    assert sum(case.age_seconds + case.window_seconds for case in quick) <= 200
    assert len(quick) == 15


def test_one_line_of_ss() -> None:
    line = (
        "ESTAB 74128 0 [fd77::1]:44906 [fd77::2]:80 "
        "skmem:(r128000,rb131072,t0,tb87040,f3072,w64,o0,bl0,d3) cubic wscale:7,7 bytes_acked:103 segs_out:9"
    )
    connection = parse(line)
    assert (connection.state, connection.unread, connection.unsent) == ("ESTAB", 74128, 0)
    assert (connection.local_port, connection.peer_port) == (44906, 80)
    assert connection.memory == 128000 + 3072 + 64
    assert connection.acked == 103


ENTRIES = {
    "tcp      6 118 TIME_WAIT src=10.77.0.1 dst=10.96.0.20 sport=40112 dport=80 src=10.77.0.2 dst=10.77.0.1 sport=8080 "
    "dport=40112 [ASSURED] mark=0 use=1": Entry("tcp", "TIME_WAIT", "10.77.0.1", "10.96.0.20", 80, replied=True),
    "tcp      6 117 SYN_SENT src=fd77::1 dst=2001:db8::80 sport=40112 dport=443 [UNREPLIED] src=2001:db8::80 "
    "dst=fd78::1 sport=443 dport=40112 mark=0 use=1": Entry(
        "tcp", "SYN_SENT", "fd77::1", "2001:db8::80", 443, replied=False
    ),
    "udp      17 28 src=10.77.0.1 dst=10.96.0.10 sport=40112 dport=53 src=10.77.0.2 dst=10.77.0.1 sport=53 "
    "dport=40112 mark=0 use=1": Entry("udp", "-", "10.77.0.1", "10.96.0.10", 53, replied=True),
    "icmpv6   58 29 src=fe80::1 dst=ff02::2 type=133 code=0 id=0 [UNREPLIED] src=ff02::2 dst=fe80::1 type=0 code=0 "
    "id=0 mark=0 use=1": Entry("icmpv6", "-", "fe80::1", "ff02::2", 0, replied=False),
}


@pytest.mark.parametrize(("line", "entry"), ENTRIES.items())
def test_one_line_of_conntrack(line: str, entry: Entry) -> None:
    assert parse_entry(line) == entry


def test_entries_are_found_by_state_source_destination_port_and_reply() -> None:
    entries = Entries(ENTRIES.values())
    assert len(entries.where("TIME_WAIT", "SYN_SENT")) == 2
    assert len(entries.where(source="10.77.0.1")) == 2
    assert len(entries.where(destination="2001:db8::80", port=443)) == 1
    assert len(entries.where(replied=False)) == 2
    assert str(entries.where(port=443)) == "1 entries (1 SYN_SENT unreplied)"


def test_statistics_are_summed_over_cpus_in_hexadecimal() -> None:
    text = "entries  clashres drop\n00000010  00000001 0000000a\n00000010  00000000 00000006\n"
    assert parse_statistics(text) == {"clashres": 1, "drop": 16}


def test_what_conntrack_counts_is_summed_over_cpus() -> None:
    text = "cpu=0   \tinsert_failed=1 clash_resolve=20 \ncpu=1   \tinsert_failed=2 clash_resolve=0 \n"
    assert parse_counted(text) == {"insert_failed": 3, "clash_resolve": 20}


def test_a_question_is_a_dns_message_with_one_name() -> None:
    asked = "001c 0100 0001 0000 0000 0000 04 73686f70 03 6c6162 00 001c 0001"
    assert question(AAAA) == bytes.fromhex(asked)


@pytest.mark.parametrize(
    ("races", "names", "fault", "look_alike"),
    [(0, 10 * ENOUGH, False, True), (ENOUGH, 10 * ENOUGH, True, False), (ENOUGH - 1, 10 * ENOUGH, False, False),
     (ENOUGH, 0, False, False), (0, 0, False, False)],
)  # fmt: skip
def test_a_race_and_its_look_alike_are_never_the_same_sight(
    races: int, names: int, fault: bool, look_alike: bool
) -> None:
    assert DnsRace().there(races, names) == fault
    assert DnsNamesInTurn().there(races, names) == look_alike
