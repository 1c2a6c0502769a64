"""dns: name servers that do not answer, who waits for them, and what only looks like it."""

from __future__ import annotations

import pytest

from whodunnet.model.finding import Cleared, NotApplicable, NotChecked
from whodunnet.model.resolvers import ResolvConf, Resolvers
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process, Workloads
from whodunnet.rules.catalogue import catalogue

from .asked import (
    HOST,
    NODE,
    OTHER,
    OTHER_NETNS,
    OTHER_POD,
    POD_NETNS,
    SERVER,
    STUB,
    asking,
    conf,
    home,
    in_container,
    lookup,
    node,
    question,
    serving,
)
from .nodes import answers, at_each, finding, findings, moment, parties
from .tracking import OWNERS, pods

RULE = "dns"
ENTRY = catalogue()[RULE]
MIN, WAIT, RECENT = (ENTRY.limit(name) for name in ("min_questions", "wait", "recent"))
FEW = int(MIN)
QUIET = {"OutDatagrams": 6, "InDatagrams": 0}


def said(found: Recording) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(found, RULE)]


def cleared(found: Recording) -> Cleared:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, Cleared)
    return answer


def not_checked(found: Recording) -> NotChecked:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, NotChecked)
    return answer


# --- Silence ------------------------------------------------------------------------------------------------------


def test_sockets_that_wait_while_nothing_comes_in_are_a_silent_server() -> None:
    waiting = asking(FEW)
    found = finding(node(waiting, waiting, rises=QUIET), RULE)
    assert (found.shape, found.severity, found.confidence) == ("silent", "warning", "likely")
    assert (found.claim, found.reason) == ("answers-not", "NameServerSilent")
    assert found.title == f"{SERVER}:53 does not answer names: {FEW} questions of default/web (app7) wait"
    assert pods(parties(found, "victim")) == ["web"]
    assert [p.endpoint for p in parties(found, "peer")] == [Endpoint(SERVER, 53)]
    assert parties(found, "culprit") == []
    assert (found.evidence[0].value, found.evidence[0].limit) == (FEW, MIN)
    assert [e.value for e in found.evidence if "that came to network namespace" in e.statement] == [0]
    assert found.would_explain == ("service-hang",)


def test_sockets_that_stay_while_the_table_has_no_open_question_may_be_a_pool() -> None:
    pool, answered = asking(FEW), question(9, answered=True, idle=30.0)
    assert said(node(pool, pool, entries=[answered], rises=QUIET)) == [("silent", "info", "possible")]
    assert said(node(pool, pool, entries=[question(1)], rises=QUIET)) == [("silent", "warning", "likely")]


def test_entries_without_an_answer_are_a_silent_server_too() -> None:
    found = finding(node(entries=[question(FEW)]), RULE)
    assert (found.shape, found.severity, found.confidence) == ("silent", "warning", "likely")
    assert pods(parties(found, "victim")) == ["web"]
    assert found.evidence[0].value == FEW


def test_two_ways_of_looking_that_agree_prove_it() -> None:
    waiting = asking(FEW)
    assert said(node(waiting, waiting, rises=QUIET, entries=[question(FEW)])) == [("silent", "warning", "proven")]
    assert said(node(entries=[question(FEW + 1)], lookups=[lookup()])) == [("silent", "warning", "proven")]


@pytest.mark.parametrize(("n", "number"), [(FEW - 1, 0), (FEW, 1)])
def test_one_or_two_questions_may_be_lost_packets(n: int, number: int) -> None:
    waiting = asking(n)
    assert len(findings(node(waiting, waiting, rises=QUIET), RULE)) == number
    assert len(findings(node(entries=[question(n)]), RULE)) == number


@pytest.mark.parametrize(("idle", "number"), [(WAIT - 0.5, 0), (WAIT, 1), (RECENT - 1, 1), (RECENT, 0)])
def test_an_entry_counts_when_its_question_is_neither_just_sent_nor_of_long_ago(idle: float, number: int) -> None:
    assert len(findings(node(entries=[question(FEW, idle=idle)]), RULE)) == number


@pytest.mark.parametrize(("seconds", "number"), [(WAIT - 0.1, 0), (WAIT, 1)])
def test_a_socket_that_is_answered_at_once_is_none(seconds: float, number: int) -> None:
    waiting = asking(FEW)
    assert len(findings(node(waiting, waiting, seconds=seconds, rises=QUIET), RULE)) == number


def test_sockets_that_come_and_go_do_not_wait() -> None:
    moments = [asking(20, first=100 * i) for i in range(4)]
    found = cleared(node(*moments, rises={"OutDatagrams": 80, "InDatagrams": 80}))
    assert found.evidence[0].value == 0


def test_the_second_server_of_a_list_answers_and_the_first_is_named() -> None:
    files = [conf(SERVER, OTHER)]
    waiting = asking(FEW)
    entries = [question(FEW), question(50, to=OTHER, answered=True, idle=1)]
    found = finding(node(waiting, waiting, files=files, entries=entries, rises={**QUIET, "InDatagrams": 6}), RULE)
    assert (found.shape, found.confidence) == ("silent", "likely")
    assert [p.endpoint for p in parties(found, "peer")] == [Endpoint(SERVER, 53)]
    assert any("rotate" in (r.command or "") for r in found.remedies)


def test_a_silent_second_server_that_nobody_asks_is_no_finding() -> None:
    files = [conf(OTHER, SERVER)]
    assert (
        cleared(node([], [], files=files, entries=[question(50, to=OTHER, answered=True, idle=1)])).evidence[1].value
        == 50
    )


def test_a_name_server_in_sight_is_named_with_its_state() -> None:
    stopped = in_container("batch", 8, state="stopped")
    owners = Workloads(by_pid={**OWNERS.by_pid, **stopped}, by_netns=OWNERS.by_netns)
    every = [*asking(FEW, to=OTHER_POD), serving(OTHER_POD, netns=OTHER_NETNS)]
    found = finding(node(every, every, files=[conf(OTHER_POD)], rises=QUIET, workloads=owners), RULE)
    (peer,) = parties(found, "peer")
    assert isinstance(peer.process, Process)
    assert (peer.process.pid, peer.effect) == (8, "does not answer: it is stopped")


def test_a_service_is_named_with_the_endpoint_behind_it() -> None:
    behind = Endpoint(OTHER_POD, 53)
    found = finding(node(entries=[question(FEW, answered_by=behind)]), RULE)
    peers = parties(found, "peer")
    assert [p.endpoint for p in peers] == [behind, Endpoint(SERVER, 53)]
    assert pods(peers)[0] == "batch"


def test_askers_of_several_programs_are_counted_in_the_title() -> None:
    waiting = [*asking(2), *asking(4, pid=8, netns=OTHER_NETNS, first=50)]
    files = [conf(), conf(netns=OTHER_NETNS)]
    entries = [question(2), question(4, source=OTHER_POD)]
    found = finding(node(waiting, waiting, files=files, entries=entries), RULE)
    assert "6 questions of 2 programs" in found.title
    assert pods(parties(found, "victim")) == ["batch", "web"]


def test_a_socket_whose_owner_is_not_known_is_named_by_its_namespace() -> None:
    waiting = asking(FEW, pid=None, netns=77)
    found = finding(node(waiting, waiting, files=[conf(netns=77)], rises=QUIET, netns=77), RULE)
    assert "network namespace 77" in found.title
    assert [p.netns for p in parties(found, "victim")] == [77]


def test_entries_and_sockets_agree_although_nothing_more_was_sent_within_the_window() -> None:
    waiting = asking(FEW)
    still = {"OutDatagrams": 0, "InDatagrams": 0}
    assert said(node(waiting, waiting, rises=still, entries=[question(FEW)])) == [("silent", "warning", "proven")]


# --- What only looks like it --------------------------------------------------------------------------------------


def test_datagrams_to_port_53_of_who_is_no_name_server_are_none() -> None:
    waiting = asking(9, to="203.0.113.1")
    assert isinstance(cleared(node(waiting, waiting, rises=QUIET, entries=[question(9, to="203.0.113.1")])), Cleared)


def test_a_name_server_s_own_sockets_are_a_pool() -> None:
    every = [serving(pid=7, netns=POD_NETNS), *asking(9)]
    assert isinstance(cleared(node(every, every, rises=QUIET)), Cleared)


def test_our_own_queries_are_not_somebody_s_questions() -> None:
    ours = asking(FEW, pid=99)
    lookups = [lookup(inode=s.inode, netns=s.netns) for s in ours]
    assert said(node(ours, ours, rises=QUIET, lookups=lookups)) == [("unused-silent", "info", "possible")]
    assert said(node(entries=[question(FEW)], lookups=lookups)) == [("unused-silent", "info", "possible")]


def test_answers_that_take_another_way_than_the_table_are_answers() -> None:
    assert cleared(node(entries=[question(20)], rises={"OutDatagrams": 40, "InDatagrams": 39}))
    assert said(node(entries=[question(20)], rises={"OutDatagrams": 40, "InDatagrams": 20}))[0][0] == "silent"


def test_entries_of_others_than_this_node_are_a_possibility() -> None:
    assert said(node(entries=[question(9, source="198.51.100.7")])) == [("silent", "info", "possible")]


@pytest.mark.parametrize("table", [{"other_entries": 5}])
def test_entries_that_were_not_kept_may_be_the_answers(table: dict[str, int]) -> None:
    assert said(node(entries=[question(9)], table=table)) == [("silent", "info", "possible")]
    merged = question(5, answered=True, merged=True, destination=None)
    assert said(node(entries=[question(9), merged])) == [("silent", "info", "possible")]


def test_questions_that_wait_beside_others_that_are_answered_may_be_about_slow_names() -> None:
    entries = [question(5), question(15, answered=True, idle=1)]
    assert said(node(entries=entries)) == [("slow", "info", "possible")]
    share = ENTRY.limit("min_share")
    answered = round(5 / share) - 5
    assert said(node(entries=[question(5), question(answered, answered=True, idle=1)]))
    assert said(node(entries=[question(5), question(answered + 2, answered=True, idle=1)])) == []


def test_an_answer_of_long_ago_is_none() -> None:
    assert said(node(entries=[question(5), question(15, answered=True, idle=60)]))[0][0] == "silent"


def test_questions_that_are_just_asked_again_are_no_idle_sockets() -> None:
    """The C library does so after 5 s: an entry without an answer, whose last packet is new."""
    waiting, again = asking(FEW), [question(FEW, idle=0.3)]
    assert said(node(waiting, waiting, entries=again, rises=QUIET)) == [("silent", "warning", "likely")]


def test_an_answer_of_before_the_window_is_none() -> None:
    """The server may have stopped since."""
    entries = [question(5), question(500, answered=True, idle=7)]
    assert said(node(entries=entries, seconds=5.0))[0][0] == "silent"
    assert said(node(entries=entries, seconds=10.0)) == []
    assert said(node(entries=entries, seconds=0.5)) == []  # too short a window to tell


def test_an_answer_whose_time_is_not_known_is_one() -> None:
    assert said(node(entries=[question(5), question(5, answered=True, idle=None)]))[0][0] == "slow"


def test_waiting_sockets_beside_datagrams_that_come_in_are_a_possibility() -> None:
    waiting = asking(9)
    assert said(node(waiting, waiting, rises={"OutDatagrams": 9, "InDatagrams": 4})) == [("slow", "info", "possible")]
    assert said(node(waiting, waiting)) == [("slow", "info", "possible")]


def test_sockets_that_stand_while_nothing_is_sent_are_idle() -> None:
    waiting = asking(9)
    assert cleared(node(waiting, waiting, rises={"OutDatagrams": 0, "InDatagrams": 0}))


def test_a_server_that_answers_us_is_not_silent() -> None:
    waiting = asking(FEW)
    found = node(waiting, waiting, rises=QUIET, lookups=[lookup("answered", rcode=0)])
    assert said(found) == [("slow", "info", "possible")]


def test_a_table_without_conntrack_module_is_no_reading() -> None:
    found = node([], [], entries=[], table={"dump_failure": Failure(code="unreadable", reason="no")})
    assert "not by connection tracking" in cleared(found).sensitivity


# --- Nobody listens -----------------------------------------------------------------------------------------------


def test_a_local_resolver_that_is_gone_is_told_by_closed_ports() -> None:
    found = finding(node([], [], files=[conf(STUB, netns=HOST)], rises={"NoPorts": FEW}, netns=HOST), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nobody-listens", "warning", "likely")
    assert (found.reason, found.evidence[0].value, found.evidence[0].unit) == ("NameServerNotThere", FEW, "datagrams")
    (peer,) = parties(found, "peer")
    assert (peer.endpoint, peer.netns, peer.effect) == (Endpoint(STUB, 53), HOST, "nobody listens there")


def test_a_local_resolver_that_is_there_is_cleared() -> None:
    every = [serving("127.0.0.53", netns=HOST)]
    assert cleared(node(every, every, files=[conf(STUB, netns=HOST)], rises={"NoPorts": 50}, netns=HOST))
    every = [serving("0.0.0.0", netns=HOST)]  # noqa: S104
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


# --- Search lists -------------------------------------------------------------------------------------------------


def test_four_domains_make_ten_queries() -> None:
    domains = ("a.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
    found = finding(node([], [], files=[conf(search=domains, ndots=5)]), RULE)
    assert (found.shape, found.severity) == ("search-list", "info")
    assert "10 queries: 4 search domains with ndots 5, in 1 files" in found.title
    assert pods(parties(found, "holder")) == ["web"]
    assert "corp.example" in found.evidence[0].statement
    assert found.would_explain == ()


def test_fewer_domains_or_ndots_1_are_as_usual() -> None:
    assert cleared(node([], [], files=[conf(search=("a", "b", "c"), ndots=5)]))
    assert cleared(node([], [], files=[conf(search=("a", "b", "c", "d"), ndots=1)]))


def test_a_search_list_stands_beside_a_silent_server() -> None:
    files = [conf(search=("a", "b", "c", "d"), ndots=5)]
    assert [shape for shape, *_ in said(node(entries=[question(9)], files=files))] == ["silent", "search-list"]


# --- Other answers ------------------------------------------------------------------------------------------------


def test_more_servers_than_are_listed_are_counted() -> None:
    files = [conf(*(f"192.0.2.{n}" for n in range(i, i + 3)), netns=i) for i in (1, 4)]
    entries = [question(9 - n, to=f"192.0.2.{n}") for n in range(1, 7)]
    found = findings(node(entries=entries, files=files), RULE)
    assert [f.evidence[0].value for f in found] == [8, 7, 6]
    assert found[0].explanation[-1].startswith("3 more name servers")


def test_nothing_to_look_with_is_not_checked() -> None:
    assert "there is none of these" in not_checked(node()).reason
    once = node(asking(9), asking(9))
    assert not_checked(Recording(node=NODE, snapshots=once.snapshots[:1]))


def test_files_that_cannot_be_read_are_not_checked_and_none_is_not_applicable() -> None:
    def only(resolvers: Resolvers | Failure) -> Recording:
        return Recording(node=NODE, snapshots=(Snapshot(at=moment(0), samples={"resolvers": resolvers}),))

    assert not_checked(only(Resolvers(netns_unread=3))).code == "unreadable"
    assert not_checked(only(Failure(code="unreadable", reason="no procfs"))).reason == "no procfs"
    (answer,) = answers(only(Resolvers()), RULE)
    assert isinstance(answer, NotApplicable)


def test_cleared_says_what_was_looked_at() -> None:
    found = cleared(node([], [], [], [], entries=[question(4, answered=True, idle=1)]))
    assert "by sockets in 3.0 s, by connection tracking" in found.sensitivity
    assert "NXDOMAIN" in found.sensitivity
    assert [e.value for e in found.evidence] == [0, 4]
    assert "2 files were not read" in cleared(
        at_each(node([], []), "resolvers", Resolvers(files=(conf(),), netns_unread=1, left_out=1))
    ).sensitivity  # fmt: skip
