"""dns: name servers that do not answer and who waits for them, search lists, and what is said when there is none."""

from __future__ import annotations

import pytest

from whodunnet.model.finding import NotApplicable
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Process, Workloads
from whodunnet.rules.dns_waits import CAME

from .asked import (
    NODE,
    OTHER,
    OTHER_NETNS,
    OTHER_POD,
    SERVER,
    asking,
    conf,
    in_container,
    lookup,
    node,
    question,
    serving,
)
from .named import FEW, MIN, QUIET, RECENT, RULE, WAIT, cleared, not_checked, said
from .nodes import answers, at_each, finding, findings, moment, parties
from .tracking import OWNERS, pods


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
    assert [e.value for e in found.evidence if "that programs of network namespace" in e.statement] == [0]
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


def test_sockets_that_are_closed_while_nothing_comes_in_were_given_up() -> None:
    """A snapshot of a large node takes long, so that there are two in 5 s: by then everybody may have begun anew."""
    found = finding(node(asking(FEW), asking(FEW, first=100), seconds=5, rises=QUIET), RULE)
    assert (found.shape, found.severity, found.confidence) == ("silent", "warning", "likely")
    assert found.title == f"{SERVER}:53 does not answer names: {FEW} questions of default/web (app7) wait"
    assert found.evidence[0].statement == "Sockets that were connected to it until given up, while nothing came"
    assert found.evidence[0].value == FEW


def test_who_asks_anew_in_every_reading_is_counted_once() -> None:
    readings = [asking(FEW, first=100 * i) for i in range(6)]
    assert finding(node(*readings, seconds=5, rises=QUIET), RULE).evidence[0].value == FEW


@pytest.mark.parametrize("came", [*CAME, "Ip.InDelivers", "Ip6.InDelivers"])
def test_sockets_that_are_closed_while_anything_came_are_none(came: str) -> None:
    found = cleared(node(asking(9), asking(9, first=100), seconds=5, rises={**QUIET, came: 1}))
    assert found.evidence[0].value == 0


def test_what_was_delivered_to_tcp_is_nothing_that_came() -> None:
    rises = {**QUIET, "Ip.InDelivers": 9, "Ip6.InDelivers": 9, "Tcp.InSegs": 13, "Icmp.InMsgs": 1, "Icmp6.InMsgs": 4}
    assert finding(node(asking(9), asking(9, first=100), seconds=5, rises=rises), RULE).shape == "silent"


def test_sockets_that_are_closed_are_none_where_nothing_was_counted_or_sent() -> None:
    closed = asking(9), asking(9, first=100)
    assert cleared(node(*closed, seconds=5)).evidence[0].value == 0
    assert cleared(node(*closed, seconds=5, rises={"OutDatagrams": 0, "InDatagrams": 0}))


def test_who_closes_its_sockets_and_asks_no_more_did_not_wait() -> None:
    """A server that is told to reload closes a pool that it never used."""
    assert cleared(node(asking(9), asking(9, pid=8, first=100), seconds=5, rises=QUIET)).evidence[0].value == 0


def test_sockets_of_nobody_known_are_not_one_program_that_asks_anew() -> None:
    assert cleared(node(asking(9, pid=None), asking(9, pid=None, first=100), seconds=5, rises=QUIET))


def test_what_a_program_has_not_read_is_an_answer() -> None:
    unread = asking(9, unread_bytes=768)
    assert cleared(node(unread, unread, rises=QUIET)).evidence[0].value == 0


def test_an_answer_that_lies_unread_at_the_end_was_not_given_up() -> None:
    late = [*asking(9, unread_bytes=768), *asking(1, first=100)]
    assert cleared(node(asking(9), late, seconds=5, rises=QUIET)).evidence[0].value == 0


def test_of_who_asks_anew_the_larger_number_counts() -> None:
    old, new = asking(FEW), asking(FEW - 1, first=10)
    assert finding(node(old, new, new, new, rises=QUIET), RULE).evidence[0].value == FEW
    assert cleared(node(new, asking(FEW - 1, first=20), new, new, rises=QUIET)).evidence[0].value == FEW - 1


@pytest.mark.parametrize(("seconds", "number"), [(2 * WAIT - 0.1, 0), (2 * WAIT, 1)])
def test_silence_of_a_moment_is_none(seconds: float, number: int) -> None:
    found = node(asking(FEW), asking(FEW, first=100), seconds=seconds, rises=QUIET)
    assert len(findings(found, RULE)) == number


def test_cleared_says_what_shows_between_readings_that_are_far_apart() -> None:
    came = {"OutDatagrams": 9, "InDatagrams": 9}
    assert "5.0 s apart" in cleared(node(asking(1), asking(1, first=9), seconds=5, rises=came)).sensitivity
    assert "apart" not in cleared(node(asking(1), asking(1, first=9), seconds=4.9, rises=came)).sensitivity


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


def test_where_sockets_of_a_namespace_could_not_be_read_nobody_is_cleared() -> None:
    unread = Sockets(method="sock_diag", groups=(), names=(), netns_unread=1)
    answer = not_checked(at_each(node([], []), "sockets", unread))
    assert (answer.code, "1 network namespaces could not be read" in answer.reason) == ("unreadable", True)


def test_cleared_says_what_was_looked_at() -> None:
    found = cleared(node([], [], [], [], entries=[question(4, answered=True, idle=1)]))
    assert "by sockets in 3.0 s, by connection tracking" in found.sensitivity
    assert "NXDOMAIN" in found.sensitivity
    assert [e.value for e in found.evidence] == [0, 4]
    assert "2 files were not read" in cleared(
        at_each(node([], []), "resolvers", Resolvers(files=(conf(),), netns_unread=1, left_out=1))
    ).sensitivity  # fmt: skip
