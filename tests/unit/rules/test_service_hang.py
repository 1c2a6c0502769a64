"""service-hang: who waits for an address that never answers, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import NotApplicable, NotChecked, Party
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets

from .hangs import ELSEWHERE, ENTRY, FLOOR, GONE, RULE, SCAN, TRIES, cleared, dropped, endpoints, hang, said
from .nodes import ages, answers, finding, findings, parties
from .tracking import (
    ALIVE,
    DEAD,
    HOST,
    NAMES,
    OTHER_POD,
    PLACES,
    REMOTE,
    SERVICE,
    connecting,
    flow,
    pods,
    question,
    table,
    tables,
    waiting,
)

ALL_SOCKETS = Sockets(method="bpf", groups=())


def test_a_dead_endpoint_is_named_with_its_service_and_who_waits() -> None:
    node = hang(
        connecting(SERVICE, 5, answered_by=DEAD), flow(SERVICE, 5, answered_by=ALIVE), flow(ELSEWHERE, 1)
    )  # fmt: skip
    found = finding(node, RULE)
    assert (found.shape, found.severity, found.confidence) == ("dead-endpoint", "warning", "proven")
    assert (found.claim, found.reason) == ("answers-not", "DeadEndpoint")
    assert endpoints(found) == [DEAD, SERVICE]
    assert pods(parties(found, "victim")) == ["web"]
    assert parties(found, "culprit") == []
    assert "10.244.7.2:8080 of 10.96.0.20:80" in found.title


def test_an_address_that_is_translated_at_another_port_is_a_service_without_endpoints() -> None:
    node = hang(connecting(replace(SERVICE, port=81), 4), flow(SERVICE, 5, answered_by=ALIVE))
    assert said(node) == [("no-endpoints", "warning", "proven")]


def test_an_address_of_ipvs_is_a_service_without_endpoints() -> None:
    device = DeviceAddress(address=GONE.address or "", prefix_length=32, device="kube-ipvs0", kind="dummy")
    places = Addresses(by_netns={**PLACES.by_netns, HOST: (*PLACES.by_netns[HOST], device)})
    assert said(hang(connecting(GONE, 4), addresses=places)) == [("no-endpoints", "warning", "likely")]


def test_an_address_that_is_never_translated_is_a_black_hole() -> None:
    node = hang(connecting(GONE, 4), flow(ELSEWHERE, 1))
    assert said(node) == [("black-hole", "warning", "proven")]
    assert "range" not in finding(node, RULE).title


def test_the_title_says_that_it_lies_in_the_range_of_the_services_here() -> None:
    node = hang(connecting(Endpoint("10.96.44.1", 80), 4), flow(SERVICE, 5, answered_by=ALIVE))
    assert said(node) == [("black-hole", "warning", "proven")]
    assert "in the range of this node's Services (10.96.0.0/16)" in finding(node, RULE).title


@pytest.mark.parametrize("state", ["close", "time-wait", "established", "syn-recv"])
def test_a_refusal_or_any_other_answer_within_a_minute_is_one(state: str) -> None:
    node = hang(connecting(GONE, 30), flow(GONE, 1, state=state, idle=30))
    assert cleared(node).evidence[0].value == 30


def test_an_answer_in_any_reading_counts() -> None:
    node = tables(table(connecting(GONE, 30), flow(GONE, 1, idle=5)), table(connecting(GONE, 30)))
    assert said(node) == []


def test_an_old_idle_connection_does_not_show_that_the_far_end_still_is() -> None:
    assert said(hang(connecting(GONE, 4), flow(GONE, 9, idle=60))) == [("black-hole", "warning", "likely")]
    assert said(hang(connecting(GONE, 4), flow(GONE, 9, idle=59))) == []
    assert said(hang(connecting(GONE, 4), flow(GONE, 9, idle=None))) == []


def test_an_endpoint_that_answers_for_another_service_is_alive() -> None:
    other = Endpoint("10.96.0.99", 80)
    node = hang(connecting(SERVICE, 5, answered_by=DEAD), flow(other, 1, answered_by=DEAD))
    assert said(node) == []


def test_fewer_connects_than_the_floor_are_none() -> None:
    assert said(hang(connecting(GONE, FLOOR - 1))) == []
    assert said(hang(connecting(GONE, FLOOR))) == [("black-hole", "warning", "likely")]


def test_the_floor_has_to_be_reached_at_both_ends() -> None:
    few = connecting(GONE, FLOOR - 1)
    node = tables(table(few), table(replace(few, ages=ages(FLOOR - 1, 10)), connecting(GONE, 1, source=OTHER_POD)))
    assert said(node) == []


@pytest.mark.parametrize(("seconds", "idle", "expected"), [(9.9, 9, 0), (10.0, 9, 1), (5.0, 9, 0), (5.0, 10, 1)])
def test_it_has_to_last_or_to_be_old(seconds: float, idle: float, expected: int) -> None:
    new = connecting(GONE, FLOOR)
    node = hang(new, connecting(GONE, 1, idle=idle, source=OTHER_POD), seconds=seconds)
    assert len(findings(node, RULE)) == expected


def test_a_client_that_starts_before_its_server_is_none() -> None:
    tries = [table(connecting(GONE, n, idle=1)) for n in (1, 2, 3, 4)]
    assert said(tables(*tries, seconds=4)) == []
    assert said(tables(*tries, table(connecting(GONE, 5, idle=10), flow(GONE, 1)), seconds=20)) == []


def test_what_nobody_tries_any_more_is_of_the_past() -> None:
    assert said(hang(connecting(GONE, 9, idle=60), sockets=[[], []])) == []


UNSEEN: dict[str, dict[str, Any]] = {
    "no sockets": {},
    "namespaces": {"sockets": Sockets(method="sock_diag", groups=(), netns_unread=1)},
    "processes": {"sockets": Sockets(method="sock_diag", groups=(), all_processes=False)},
    "rights": {"sockets": Sockets(method="sock_diag", groups=(), missing_capability="CAP_BPF")},
    "too many": {"sockets": Sockets(method="bpf", groups=(), other_sockets=1)},
    "addresses": {"sockets": ALL_SOCKETS, "addresses": replace(PLACES, netns_unread=1)},
    "more addresses": {"sockets": ALL_SOCKETS, "addresses": replace(PLACES, left_out=1)},
    "no addresses": {"sockets": ALL_SOCKETS, "addresses": None},
}


def held(*groups: FlowGroup, sockets: Sockets | None = None, **other: Any) -> Recording:
    """The same at two moments; sockets as they are given."""
    node = hang(*groups, **other)
    more = {} if sockets is None else {"sockets": sockets}
    return replace(node, snapshots=tuple(replace(s, samples={**s.samples, **more}) for s in node.snapshots))


@pytest.mark.parametrize("unseen", UNSEEN)
def test_what_nobody_is_seen_to_try_is_possible_while_not_everybody_is_in_sight(unseen: str) -> None:
    node = held(connecting(GONE, 9, idle=60), flow(ELSEWHERE, 1), **UNSEEN[unseen])
    assert said(node) == [("black-hole", "info", "possible")]
    assert "not all in sight" in finding(node, RULE).explanation[-1]
    assert said(held(connecting(GONE, FLOOR - 1, idle=60), **UNSEEN[unseen])) == []


def test_the_sockets_of_openers_elsewhere_are_never_in_sight() -> None:
    node = held(connecting(GONE, 9, idle=60, source=REMOTE), sockets=ALL_SOCKETS)
    assert said(node) == [("black-hole", "info", "possible")]


def test_a_name_server_that_nobody_asks_any_more_is_of_the_past() -> None:
    """A question anew does renew its entry."""
    assert said(hang(question(9, replied=False, ages=ages(9, 15)))) == []


def test_sockets_are_counted_and_not_what_was_given_up() -> None:
    node = hang(connecting(GONE, 16), sockets=[[waiting(GONE, 8)]] * 2)
    found = finding(node, RULE)
    assert found.title.endswith(": 8 connects wait")
    (who,) = parties(found, "victim")
    assert (who.effect, pods([who])) == ("waits for an answer (8 sockets)", ["web"])
    assert (found.evidence[0].value, found.evidence[0].unit) == (16, "entries")
    assert "also of attempts given up within the last 120 s" in found.evidence[0].statement


def test_only_who_still_waits_is_a_victim_where_sockets_tell() -> None:
    other = connecting(GONE, 16, source=OTHER_POD)
    node = hang(other, connecting(GONE, 4), sockets=[[waiting(GONE, 4)]] * 2)
    assert pods(parties(finding(node, RULE), "victim")) == ["web"]


@pytest.mark.parametrize(
    "other", [{"source": REMOTE}, {"addresses": replace(PLACES, netns_unread=1)}, {"sockets": [[], []]}]
)
def test_entries_are_counted_where_sockets_do_not_tell(other: dict[str, Any]) -> None:
    source = {"source": other["source"]} if "source" in other else {}
    given = {"sockets": [[waiting(GONE, 8)]] * 2, **{k: v for k, v in other.items() if k != "source"}}
    found = finding(hang(connecting(GONE, 16, **source), **given), RULE)
    assert found.title.endswith(": 16 connects are without an answer")
    assert [p.effect for p in parties(found, "victim") if "16 entries" in str(p.effect)]


def test_sockets_that_wait_for_one_of_two_dead_endpoints_are_not_counted_for_either() -> None:
    dead = [connecting(SERVICE, n, answered_by=by) for n, by in ((6, DEAD), (5, ALIVE))]
    titles = [f.title for f in findings(hang(*dead, sockets=[[waiting(SERVICE, 4)]] * 2), RULE)]
    assert [t.rsplit(": ", 1)[1] for t in titles] == [
        "6 connects are without an answer",
        "5 connects are without an answer",
    ]


def test_nothing_is_said_of_tries_by_the_age_of_entries() -> None:
    """Since Linux 5.19 a repeated SYN does not renew its entry."""
    found = finding(hang(connecting(GONE, 9, idle=60), sockets=[[waiting(GONE, 9)]] * 2), RULE)
    said_so = " ".join(f"{e.statement} {e.repeat}" for e in found.evidence)
    assert not any(word in said_so for word in ("tried again", "given up, or tried rarely", "twice", "idle"))
    assert "ss -tno state syn-sent" in said_so


def test_the_time_without_an_answer_is_said_in_words_that_can_be_understood() -> None:
    (lasts,) = (e for e in finding(hang(connecting(GONE, 9), moments=3), RULE).evidence if e.unit == "seconds")
    assert (lasts.statement, lasts.value) == ("In 3 readings, without any answer for", 10.0)
    (lasts,) = (e for e in finding(dropped(), RULE).evidence if e.unit == "seconds")
    assert lasts.statement == "In 2 readings, waiting without an entry for"


def test_sockets_that_wait_show_that_it_is_still_tried() -> None:
    node = hang(connecting(GONE, 9, idle=60), sockets=[[waiting(GONE, 2)]] * 2)
    assert said(node) == [("black-hole", "warning", "likely")]


def test_more_entries_than_before_show_that_it_is_still_tried() -> None:
    node = tables(table(connecting(GONE, 5, idle=None)), table(connecting(GONE, 6, idle=None)))
    assert said(node) == [("black-hole", "warning", "likely")]


def test_one_reading_is_only_possible() -> None:
    assert said(tables(table(connecting(GONE, 9, idle=10), flow(ELSEWHERE, 1)))) == [("black-hole", "info", "possible")]
    assert said(tables(table(connecting(GONE, 9, idle=9), flow(ELSEWHERE, 1)))) == []


def test_a_scan_is_none() -> None:
    targets = [connecting(Endpoint(f"203.0.113.{i}", 22), TRIES - 1) for i in range(SCAN)]
    answer = cleared(hang(*targets))
    assert "1 sources that try many addresses at once" in answer.sensitivity
    assert len(findings(hang(*targets[1:]), RULE)) == ENTRY.limit("listed_targets")


def test_one_who_waits_for_many_dead_endpoints_is_no_scanner() -> None:
    """A node with many pods is gone: a scanner tries each address a few times."""
    targets = [connecting(Endpoint(f"203.0.113.{i}", 22), TRIES) for i in range(SCAN)]
    assert len(findings(hang(*targets), RULE)) == ENTRY.limit("listed_targets")


def test_a_scan_does_not_hide_who_waits_beside_it() -> None:
    targets = [connecting(Endpoint(f"203.0.113.{i}", 22), TRIES - 1) for i in range(SCAN)]
    node = hang(*targets, connecting(GONE, 4, source=OTHER_POD))
    assert pods(parties(finding(node, RULE), "victim")) == ["batch"]


def test_ports_of_one_address_are_targets_of_their_own() -> None:
    node = hang(*[connecting(replace(GONE, port=port), 1) for port in range(1, SCAN)])
    assert said(node) == []


def test_datagrams_without_an_answer_are_none_but_those_of_dns() -> None:
    quiet = {"protocol": "udp", "state": "none", "replied": False}
    assert said(hang(flow(Endpoint("10.1.1.1", 514), 50, **quiet))) == []
    assert said(hang(question(4, answered_by=DEAD, replied=False))) == [("dead-endpoint", "warning", "likely")]
    assert endpoints(finding(hang(question(4, answered_by=DEAD, replied=False)), RULE)) == [DEAD, NAMES]


def test_connects_from_elsewhere_are_only_possible() -> None:
    """Their answers may take a way that does not pass here."""
    assert said(hang(connecting(GONE, 9, source=REMOTE), flow(ELSEWHERE, 1))) == [("black-hole", "info", "possible")]


def test_without_addresses_sockets_that_wait_say_that_it_is_from_here() -> None:
    node = hang(connecting(GONE, 9), flow(ELSEWHERE, 1), addresses=None)
    assert said(node) == [("black-hole", "info", "possible")]
    node = hang(connecting(GONE, 9), flow(ELSEWHERE, 1), addresses=None, sockets=[[waiting(GONE, 2)]] * 2)
    assert said(node) == [("black-hole", "warning", "proven")]


def test_sockets_that_are_connected_show_that_answers_take_another_way() -> None:
    node = hang(connecting(GONE, 9), sockets=[[waiting(GONE, 9, "established")]] * 2)
    assert said(node) == []


def test_sockets_that_another_namespace_has_to_the_same_address_do_not() -> None:
    elsewhere = replace(waiting(GONE, 9, "established"), netns=4_026_539_999)
    assert [shape for shape, *_ in said(hang(connecting(GONE, 9), sockets=[[elsewhere]] * 2))] == ["black-hole"]


def test_old_connections_beside_it_do_not() -> None:
    node = hang(
        connecting(GONE, 9), flow(GONE, 9, idle=300), sockets=[[waiting(GONE, 9, "established"), waiting(GONE, 9)]] * 2
    )
    assert said(node) == [("black-hole", "warning", "likely")]


def test_sockets_that_are_connected_to_another_endpoint_of_the_service_do_not() -> None:
    groups = (connecting(SERVICE, 9, answered_by=DEAD), flow(SERVICE, 9, answered_by=ALIVE))
    node = hang(*groups, sockets=[[waiting(SERVICE, 9, "established"), waiting(SERVICE, 9)]] * 2)
    assert said(node) == [("dead-endpoint", "warning", "proven")]


def test_connects_for_which_no_socket_ever_waited_may_have_been_refused() -> None:
    """An ICMP refusal (REJECT) ends the connect at once, and its entry stays in SYN_SENT."""
    node = hang(connecting(GONE, 9), flow(ELSEWHERE, 9), sockets=[[waiting(ELSEWHERE, 9, "established")]] * 2)
    assert said(node) == [("black-hole", "info", "possible")]
    assert any("refused by ICMP" in line for line in finding(node, RULE).explanation)


def test_a_silent_pod_of_this_node_is_named() -> None:
    found = finding(hang(connecting(Endpoint(OTHER_POD, 80), 4)), RULE)
    assert pods(parties(found, "peer")) == ["batch"]
    assert endpoints(found) == [Endpoint(OTHER_POD, 80)]


def test_the_node_itself_waits_too() -> None:
    found = finding(hang(connecting(GONE, 4, source="192.0.2.10")), RULE)
    assert [p.node for p in parties(found, "victim")] == ["n1"]


def test_more_silent_addresses_than_are_listed_are_counted() -> None:
    found = findings(hang(*[connecting(Endpoint(f"203.0.113.{i}", 22), 5 + i) for i in range(5)]), RULE)
    assert [endpoints(f)[0].address for f in found] == ["203.0.113.4", "203.0.113.3", "203.0.113.2"]
    assert all(f.explanation[-1].startswith("2 more addresses are as silent") for f in found)


def test_entries_whose_destination_was_not_kept_are_said() -> None:
    node = hang(connecting(replace(GONE, port=None), 40, merged=True))
    assert "of 40 entries the address or port was not kept" in cleared(node).sensitivity


def test_one_reading_that_is_cleared_says_what_it_cannot_show() -> None:
    assert "one reading, which cannot show that it goes on" in cleared(tables(table(flow(ELSEWHERE, 1)))).sensitivity


def test_an_empty_table_is_cleared() -> None:
    assert cleared(tables(table(), table())).evidence[0].value == 0


def test_without_tracking_it_does_not_apply() -> None:
    assert [type(a) for a in answers(tables(Conntrack(loaded=False)), RULE)] == [NotApplicable]


def test_a_table_that_could_not_be_dumped_is_not_checked() -> None:
    why = Failure(code="missing-capability", reason="netlink: no", missing_capability="CAP_NET_ADMIN")
    (answer,) = answers(tables(table(dump_failure=why)), RULE)
    assert isinstance(answer, NotChecked)
    assert (answer.code, answer.missing_capability) == ("missing-capability", "CAP_NET_ADMIN")


def test_the_order_of_groups_does_not_matter() -> None:
    groups = [
        connecting(GONE, 9), connecting(GONE, 3, source=OTHER_POD), connecting(SERVICE, 5, answered_by=DEAD),
        flow(SERVICE, 4, answered_by=ALIVE), connecting(ELSEWHERE, 2),
    ]  # fmt: skip
    assert findings(hang(*groups), RULE) == findings(hang(*reversed(groups)), RULE)
    assert len(findings(hang(*groups), RULE)) == 2


def test_a_hostile_address_is_quoted() -> None:
    found = finding(hang(connecting(Endpoint("$(id)", 80), 4)), RULE)
    assert all("'$(id)" in e.repeat for e in found.evidence if "$(id)" in e.repeat)
    assert isinstance(found.parties[0], Party)
