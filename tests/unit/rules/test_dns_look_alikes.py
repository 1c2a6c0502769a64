"""dns: what only looks like a name server that does not answer."""

from __future__ import annotations

import pytest

from whodunnet.model.finding import Cleared
from whodunnet.model.sample import Failure

from .asked import (
    POD_NETNS,
    asking,
    lookup,
    node,
    question,
    serving,
)
from .named import ENTRY, FEW, QUIET, cleared, said


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
