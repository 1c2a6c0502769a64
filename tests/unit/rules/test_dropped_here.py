"""service-hang: sockets that wait without an entry, since this node itself drops what they send."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint

from .hangs import ELSEWHERE, FLOOR, GONE, RULE, SCAN, cleared, dropped, endpoints, hang, place, said
from .nodes import finding, parties
from .tracking import (
    ALIVE,
    HOST,
    OTHER_NETNS,
    OTHER_POD,
    POD,
    POD_NETNS,
    connecting,
    flow,
    pods,
    table,
    tables,
    waiting,
)

LIKELY, POSSIBLE = [("dropped-here", "warning", "likely")], [("dropped-here", "info", "possible")]


def test_sockets_that_wait_without_an_entry_are_dropped_here() -> None:
    found = finding(dropped(), RULE)
    assert (found.shape, found.severity, found.confidence) == ("dropped-here", "warning", "likely")
    assert (endpoints(found), pods(parties(found, "victim"))) == ([GONE], ["web"])
    assert [(e.value, e.unit, e.source) for e in found.evidence] == [
        (FLOOR, "sockets", "sockets collector"), (0, "entries", "conntrack collector"),
        (1, "destinations", "conntrack collector"), (10.0, "seconds", "sockets collector"),
    ]  # fmt: skip
    assert "3 wait" in found.title
    commands = " ".join(r.command or "" for r in found.remedies)
    assert all(word in commands for word in ("nft list ruleset", "iptables-save", "ip route get 203.0.113.77"))


def test_the_node_s_own_programs_are_dropped_here_too() -> None:
    own = replace(waiting(GONE, 4), netns=HOST)
    node = hang(flow(ELSEWHERE, 1, source="192.0.2.10"), sockets=[[own]] * 2)
    assert said(node) == LIKELY
    assert parties(finding(node, RULE), "victim")[0].process is not None


def test_fewer_sockets_than_the_floor_are_none_at_either_end() -> None:
    assert said(dropped(sockets=[waiting(GONE, FLOOR - 1)])) == []
    few, enough = [waiting(GONE, FLOOR - 1)], [waiting(GONE, FLOOR)]
    for sockets in ([few, enough], [enough, few]):
        assert said(hang(flow(ELSEWHERE, 1), addresses=place(), sockets=sockets)) == []


def test_two_owners_below_the_floor_do_not_reach_it_together() -> None:
    other = replace(waiting(GONE, FLOOR - 1), netns=OTHER_NETNS, owner_pid=8)
    both = (flow(ELSEWHERE, 1), flow(ELSEWHERE, 1, source=OTHER_POD))
    assert said(hang(*both, addresses=place(), sockets=[[waiting(GONE, FLOOR - 1), other]] * 2)) == []


def test_owners_that_wait_for_the_same_endpoint_are_victims_of_one_finding() -> None:
    other = replace(waiting(GONE, 9), netns=OTHER_NETNS, owner_pid=8)
    node = dropped(flow(ELSEWHERE, 1, source=OTHER_POD), sockets=[waiting(GONE, FLOOR), other])
    assert pods(parties(finding(node, RULE), "victim")) == ["batch", "web"]
    assert finding(node, RULE).evidence[0].value == FLOOR + 9


@pytest.mark.parametrize(("seconds", "expected"), [(9.9, POSSIBLE), (10.0, LIKELY)])
def test_less_than_the_silence_that_is_asked_for_is_only_possible(seconds: float, expected: list[Any]) -> None:
    assert said(dropped(seconds=seconds)) == expected


def test_one_reading_of_sockets_shows_nothing_of_it() -> None:
    answer = cleared(dropped(moments=1))
    assert "two readings of sockets and addresses would show" in answer.sensitivity


def test_a_server_that_starts_has_an_entry() -> None:
    assert said(dropped(connecting(GONE, FLOOR, idle=1), seconds=4)) == []


def test_an_entry_in_any_reading_shows_that_it_left() -> None:
    moments = table(flow(ELSEWHERE, 1), connecting(GONE, 1)), table(flow(ELSEWHERE, 1))
    assert said(tables(*moments, addresses=place(), sockets=[[waiting(GONE, 9)]] * 2)) == []


def test_a_socket_that_is_connected_to_it_shows_that_it_is_reached() -> None:
    assert said(dropped(sockets=[waiting(GONE, 9), waiting(GONE, 1, "established")])) == []


def test_datagrams_and_sockets_that_were_accepted_are_none() -> None:
    assert said(dropped(sockets=[replace(waiting(GONE, 9), protocol="udp")])) == []
    assert said(dropped(sockets=[replace(waiting(GONE, 9), role="accepted")])) == []


def test_a_namespace_of_which_nothing_is_tracked_is_not_judged() -> None:
    assert said(hang(flow(ELSEWHERE, 9, source=OTHER_POD), addresses=place(), sockets=[[waiting(GONE, 9)]] * 2)) == []


def test_an_address_that_two_namespaces_have_shows_of_neither_that_it_is_tracked() -> None:
    twins = {POD_NETNS: place().by_netns[POD_NETNS], OTHER_NETNS: place().by_netns[POD_NETNS]}
    assert said(dropped(addresses=Addresses(by_netns=twins))) == []


def test_addresses_that_were_not_read_leave_it_open() -> None:
    assert said(dropped(addresses=None)) == []
    assert said(dropped(addresses=place(netns_unread=1))) == POSSIBLE
    assert said(dropped(addresses=place(left_out=1))) == POSSIBLE


def test_connections_without_an_entry_show_that_not_everything_is_tracked() -> None:
    untracked = waiting(Endpoint("203.0.113.9", 443), 1, "established")
    assert said(dropped(sockets=[waiting(GONE, 9), untracked])) == POSSIBLE
    assert said(dropped(sockets=[waiting(GONE, 9), replace(untracked, endpoint=Endpoint(POD, 80))])) == LIKELY


def test_a_connection_of_the_newest_reading_may_have_no_entry_yet() -> None:
    new = [waiting(GONE, 9), waiting(Endpoint("203.0.113.9", 443), 1, "established")]
    node = hang(flow(ELSEWHERE, 1), addresses=place(), sockets=[[waiting(GONE, 9)], new])
    assert said(node) == LIKELY


def test_another_device_may_be_the_way() -> None:
    assert said(dropped(addresses=place(devices=("eth0", "net1")))) == POSSIBLE


def test_a_neighbour_on_the_link_may_be_reached_unseen() -> None:
    assert said(dropped(addresses=place(prefix=24))) == POSSIBLE
    assert said(dropped(flow(replace(GONE, port=80), 1), addresses=place(prefix=24))) == LIKELY
    service = flow(replace(GONE, port=80), 1, source=OTHER_POD, answered_by=ALIVE)
    assert said(dropped(service, addresses=place(prefix=24))) == LIKELY


def test_what_never_leaves_the_namespace_is_none() -> None:
    for address in (POD, "127.0.0.1", "::1"):
        assert said(dropped(sockets=[waiting(Endpoint(address, 80), 9)])) == []


def statistics(*dropped: int, name: str = "drop", sockets: int = 9) -> Recording:
    moments = [table(flow(ELSEWHERE, 1), statistics={name: n}) for n in dropped]
    return tables(*moments, addresses=place(), sockets=[[waiting(GONE, sockets)]] * len(dropped))


@pytest.mark.parametrize("name", ["drop", "early_drop"])
def test_a_table_without_room_drops_by_itself(name: str) -> None:
    assert said(statistics(0, 1, name=name)) == []
    assert said(statistics(5, 5, name=name)) == POSSIBLE
    assert said(statistics(0, 0, name=name)) == LIKELY


def test_where_drops_are_not_counted_the_table_may_have_been_full() -> None:
    uncounted = table(flow(ELSEWHERE, 1), statistics={})
    assert said(tables(uncounted, uncounted, addresses=place(), sockets=[[waiting(GONE, 9)]] * 2)) == POSSIBLE


def test_entries_that_are_not_known_may_be_the_ones() -> None:
    assert said(dropped(flow(replace(GONE, port=None), 5, merged=True))) == []
    assert said(dropped(flow(replace(ELSEWHERE, port=None), 5, merged=True))) == LIKELY
    full = table(flow(ELSEWHERE, 1), other_entries=1)
    assert said(tables(full, full, addresses=place(), sockets=[[waiting(GONE, 9)]] * 2)) == []


@pytest.mark.parametrize(("seconds", "expected"), [(63, []), (64, LIKELY)])
def test_entries_may_be_gone_before_the_next_try(seconds: int, expected: list[Any]) -> None:
    short = table(flow(ELSEWHERE, 1), timeouts={"tcp_timeout_syn_sent": seconds})
    assert said(tables(short, short, addresses=place(), sockets=[[waiting(GONE, 9)]] * 2)) == expected


def test_a_scan_that_is_dropped_here_is_none() -> None:
    targets = [waiting(Endpoint(f"203.0.113.{i}", 22), 5) for i in range(SCAN)]
    assert said(dropped(sockets=targets)) == []
    assert said(dropped(sockets=targets[1:])) == LIKELY * 3
