"""dns: name servers where nobody listens, and what our own queries find."""

from __future__ import annotations

from whodunnet.model.resolvers import ResolvConf
from whodunnet.model.sockets import Endpoint

from .asked import (
    HOST,
    OTHER_NETNS,
    OTHER_POD,
    POD_NETNS,
    SERVER,
    STUB,
    asking,
    conf,
    home,
    lookup,
    node,
    question,
    serving,
)
from .named import FEW, QUIET, RULE, WAIT, cleared, said
from .nodes import finding, parties
from .tracking import pods


def test_a_local_resolver_that_is_gone_is_told_by_closed_ports() -> None:
    found = finding(node([], [], files=[conf(STUB, netns=HOST)], rises={"NoPorts": FEW}, netns=HOST), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nobody-listens", "warning", "likely")
    assert (found.reason, found.evidence[0].value, found.evidence[0].unit) == ("NameServerNotThere", FEW, "datagrams")
    (peer,) = parties(found, "peer")
    assert (peer.endpoint, peer.netns, peer.effect) == (Endpoint(STUB, 53), HOST, "nobody listens there")


def test_a_local_resolver_that_is_there_is_cleared() -> None:
    every = [serving("127.0.0.53", netns=HOST)]
    assert cleared(node(every, every, files=[conf(STUB, netns=HOST)], rises={"NoPorts": 50}, netns=HOST))
    every = [serving("0.0.0.0", netns=HOST)]
    assert cleared(node(every, every, files=[conf(STUB, netns=HOST)], rises={"NoPorts": 50}, netns=HOST))


def test_a_loopback_is_one_of_its_own_namespace() -> None:
    every = [serving("127.0.0.53", netns=HOST)]
    files = [conf(STUB, netns=HOST), conf(STUB)]
    found = finding(node(every, every, files=files, rises={"NoPorts": 50}), RULE)
    assert [p.netns for p in parties(found, "peer")] == [POD_NETNS]


def test_with_another_server_in_the_list_a_refusal_costs_no_time() -> None:
    files = [conf(STUB, SERVER, netns=HOST)]
    assert said(node([], [], files=files, rises={"NoPorts": 50}, netns=HOST)) == [("nobody-listens", "info", "likely")]


def test_closed_ports_say_nothing_of_a_server_that_no_file_names() -> None:
    nameless = ResolvConf(netns=HOST, pid=7)
    assert cleared(node([], [], files=[nameless], rises={"NoPorts": 50}, netns=HOST))
    asks = asking(FEW, to="127.0.0.1", netns=HOST)
    found = node(asks, asks, files=[nameless], rises=QUIET, netns=HOST)
    assert said(found) == [("nobody-listens", "warning", "likely")]


def test_docker_s_own_resolver_has_no_such_port() -> None:
    assert cleared(node([], [], files=[conf("127.0.0.11")], rises={"NoPorts": 50}))


def test_an_address_of_a_service_needs_nobody_to_listen() -> None:
    places = home(SERVER, HOST, "kube-ipvs0", "dummy")
    assert cleared(node([], [], rises={"NoPorts": 50}, netns=HOST, addresses=places))


def test_sockets_that_are_not_all_known_do_not_say_that_nobody_listens() -> None:
    for how in ({"names_cut": True}, {"all_processes": False}, {"netns_unread": 1}):
        found = node([], [], files=[conf(STUB, netns=HOST)], rises={"NoPorts": 50}, netns=HOST, **how)
        assert said(found) == []


def test_a_pod_with_a_closed_port_is_named() -> None:
    found = finding(
        node([], [], files=[conf(OTHER_POD)], rises={"NoPorts": 9}, netns=OTHER_NETNS), RULE
    )  # fmt: skip
    assert found.shape == "nobody-listens"
    assert pods(parties(found, "peer")) == ["batch"]


def test_questions_that_wait_where_nobody_listens_need_no_closed_port_to_be_counted() -> None:
    waiting = asking(FEW, to=OTHER_POD)
    found = node(waiting, waiting, files=[conf(OTHER_POD, SERVER)], rises=QUIET)
    assert said(found) == [("nobody-listens", "warning", "likely")]


def test_a_refusal_of_our_own_query_is_told() -> None:
    found = node(entries=[question(FEW + 1)], lookups=[lookup("refused", sent=1)])
    assert said(found) == [("nobody-listens", "warning", "likely")]
    assert said(node([], [], lookups=[lookup("refused", sent=1)])) == [("nobody-listens", "info", "likely")]
    both = node([], [], files=[conf(STUB)], rises={"NoPorts": 9}, lookups=[lookup("refused", server=STUB)])
    assert said(both) == [("nobody-listens", "warning", "proven")]


# --- What our own queries find ------------------------------------------------------------------------------------


def test_a_server_that_fails_is_told_and_one_that_refuses_is_alive() -> None:
    found = finding(node([], [], lookups=[lookup("answered", rcode=2)]), RULE)
    assert (found.shape, found.severity, found.reason) == ("fails", "info", "NameServerFails")
    assert "code 2" in found.evidence[0].statement
    for code in (0, 3, 5):
        assert cleared(node([], [], lookups=[lookup("answered", rcode=code)])).evidence[1].value == 1


def test_a_query_that_was_sent_once_or_just_now_proves_no_silence() -> None:
    assert cleared(node([], [], lookups=[lookup(sent=1)]))
    assert cleared(node([], [], lookups=[lookup(seconds=WAIT)]))
    assert said(node([], [], lookups=[lookup(seconds=2 * WAIT)])) == [("unused-silent", "info", "possible")]


def test_a_query_that_could_not_be_sent_says_nothing_of_the_server() -> None:
    assert cleared(node([], [], lookups=[lookup("not-sent", sent=0)]))
