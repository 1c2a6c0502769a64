"""The scorer can fail: each way of being wrong is invented here once, beside the right answer."""

from __future__ import annotations

import pytest

from lab.case import Expected, Named
from lab.score import Score, score
from lab.who import Who

from .answers import CLIENT, CULPRIT, HEALTHY, HOLDER, LEAK, OTHER, SERVER, Json, diagnosis, leak, party


def test_the_right_answer_is_right() -> None:
    assert score(LEAK, diagnosis(leak(CULPRIT, HOLDER))) == Score()


def test_healthy_is_right_for_a_look_alike() -> None:
    assert score(HEALTHY, diagnosis()).right


def test_an_info_finding_is_allowed_for_a_look_alike() -> None:
    assert score(HEALTHY, diagnosis(leak(HOLDER, severity="info"))).right


@pytest.mark.parametrize(
    ("expected", "said", "complaint"),
    [
        pytest.param(LEAK, diagnosis(), "no finding of socket-leak", id="nothing found"),
        pytest.param(LEAK, diagnosis(leak(HOLDER)), "culprit foo-health[100]", id="no culprit"),
        pytest.param(
            LEAK,
            diagnosis(leak(party("culprit", 101, "foo-health"), HOLDER)),
            "culprit foo-health[100]",
            id="right name, wrong process",
        ),
        pytest.param(
            LEAK,
            diagnosis(leak(party("culprit", 100, "python3"), HOLDER)),
            "culprit foo-health[100]",
            id="right process, wrong name",
        ),
        pytest.param(LEAK, diagnosis(leak(CULPRIT)), "holder or victim nginx[200/201]", id="no holder"),
        pytest.param(
            LEAK,
            diagnosis(leak(CULPRIT, HOLDER, rule="conntrack-table")),
            "no finding of socket-leak",
            id="said by another rule",
        ),
        pytest.param(HEALTHY, diagnosis(cleared=()), "socket-leak did not look", id="blind is not healthy"),
        pytest.param(HEALTHY, diagnosis(cleared=("socket-leak",)), "tcp-memory did not look", id="half blind"),
    ],
)
def test_missing(expected: Expected, said: Json, complaint: str) -> None:
    assert complaint in score(expected, said).missing


@pytest.mark.parametrize(
    ("expected", "said", "complaint"),
    [
        pytest.param(
            LEAK,
            diagnosis(leak(party("culprit", 201, "nginx"), party("reader", 100, "foo-health"))),
            "nginx[200/201] by socket-leak:1",
            id="the holder instead of the reader",
        ),
        pytest.param(
            LEAK,
            diagnosis(leak(CULPRIT, HOLDER, party("culprit", 200, "nginx"))),
            "nginx[200/201] by socket-leak:1",
            id="the holder beside the reader",
        ),
        pytest.param(
            LEAK,
            diagnosis(leak(CULPRIT, HOLDER, party("culprit", 999, "sshd"))),
            "sshd[999] by socket-leak:1",
            id="a bystander",
        ),
        pytest.param(
            HEALTHY,
            diagnosis(leak(party("culprit", 200, "nginx"), severity="info")),
            "nginx[200/201] by socket-leak:1",
            id="a name in a look-alike, however softly",
        ),
        pytest.param(
            HEALTHY,
            diagnosis(leak({"role": "culprit", "netns": 4026532246})),
            "{'role': 'culprit', 'netns': 4026532246} by socket-leak:1",
            id="a culprit without a process",
        ),
    ],
)
def test_blamed(expected: Expected, said: Json, complaint: str) -> None:
    result = score(expected, said)
    assert complaint in result.blamed
    assert not result.right


def test_a_tolerated_culprit_is_neither_blamed_nor_missing() -> None:
    worker = Who("hung-worker", frozenset({300}))
    expected = Expected(rule=None, also=("socket-leak",), tolerated=(worker,), innocent=(SERVER,))
    assert score(expected, diagnosis(leak(party("culprit", 300, "hung-worker")))).right
    assert score(expected, diagnosis(leak(HOLDER))).right
    assert score(expected, diagnosis()).right
    assert score(expected, diagnosis(leak(party("culprit", 201, "nginx")))).blamed


@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_extra_finding_in_a_look_alike(severity: str) -> None:
    result = score(HEALTHY, diagnosis(leak(HOLDER, severity=severity)))
    assert result.extra == (f"{severity} socket-leak:1: One process never reads its responses",)


def test_extra_finding_beside_the_right_one() -> None:
    second = leak(HOLDER, id="socket-leak:2")
    assert score(LEAK, diagnosis(leak(CULPRIT, HOLDER), second)).extra


def test_tcp_memory_where_it_was_not_asked_for_is_extra() -> None:
    pressure = leak(rule="tcp-memory", id="tcp-memory:1", shape=None)
    assert score(LEAK, diagnosis(leak(CULPRIT, HOLDER), pressure)).extra


def test_the_culprit_may_be_named_by_either_rule_when_both_have_a_finding() -> None:
    expected = Expected(rule="tcp-memory", also=("socket-leak",), culprits=(CLIENT,))
    memory = leak(rule="tcp-memory", id="tcp-memory:1", shape=None, severity="critical")
    assert score(expected, diagnosis(memory, leak(CULPRIT))).right
    assert score(expected, diagnosis(leak(CULPRIT))).missing == ("no finding of tcp-memory",)


def test_wrong_shape() -> None:
    result = score(LEAK, diagnosis(leak(CULPRIT, HOLDER, shape="held-open")))
    assert result.wrong == ("shape of foo-health[100] is ['held-open'], not response-never-read",)


def test_wrong_endpoint() -> None:
    finding = leak(CULPRIT, HOLDER)
    finding["parties"][-1]["endpoint"]["port"] = 8080
    assert score(LEAK, diagnosis(finding)).wrong


@pytest.mark.parametrize(("first", "second", "right"), [(CLIENT, OTHER, True), (OTHER, CLIENT, False)])
def test_the_bigger_of_two_comes_first(first: Who, second: Who, right: bool) -> None:
    expected = Expected(rule="socket-leak", culprits=(CLIENT, OTHER), ordered=True)
    findings = [
        leak(party("culprit", min(who.pids), who.comm), id=f"socket-leak:{who.comm}") for who in (first, second)
    ]
    assert score(expected, diagnosis(*findings)).right == right


def test_one_of_two_leaks_is_not_enough() -> None:
    expected = Expected(rule="socket-leak", culprits=(CLIENT, OTHER))
    assert score(expected, diagnosis(leak(CULPRIT))).missing == ("culprit bar-health[110]",)


@pytest.mark.parametrize(("state", "right"), [("stopped", True), ("sleeping", False), (None, False)])
def test_the_state_of_a_reader_has_to_be_said(state: str | None, right: bool) -> None:
    stopped = Who("downloader", frozenset({100}), state="stopped")
    expected = Expected(rule=None, also=("socket-leak",), others=(Named(stopped, ("reader",)),))
    assert score(expected, diagnosis(leak(party("reader", 100, "downloader", state=state)))).right == right


def test_shares_above_one_were_counted_twice() -> None:
    shared = party("culprit", 100, "foo-health", share=1.4)
    assert score(LEAK, diagnosis(leak(shared, HOLDER))).wrong == ("shares of socket-leak:1 are [1.4]",)


def test_a_rule_that_was_asked_has_to_have_looked() -> None:
    rules = ("socket-leak", "tcp-memory", "conntrack-table")
    assert score(HEALTHY, diagnosis(), rules).missing == ("conntrack-table did not look",)
    assert score(HEALTHY, diagnosis(cleared=rules), rules).right


def test_that_it_cannot_exist_is_an_answer_only_where_that_is_so() -> None:
    said = {**diagnosis(), "not_applicable": [{"rule": "conntrack-table"}]}
    rules = ("socket-leak", "tcp-memory", "conntrack-table")
    assert score(HEALTHY, said, rules).missing == ("conntrack-table did not look",)
    assert score(Expected(rule=None, inapplicable=("conntrack-table",)), said, rules).right


def test_a_rule_that_has_to_clear_may_not_even_have_an_info_finding() -> None:
    expected = Expected(rule=None, cleared=("dns-race",))
    race = leak(HOLDER, rule="dns-race", id="dns-race:1", severity="info")
    assert score(expected, diagnosis(race)).missing == ("dns-race is not cleared",)
    assert score(expected, diagnosis(cleared=("socket-leak", "tcp-memory", "dns-race"))).right


@pytest.mark.parametrize(("uid", "right"), [("u1", True), ("u2", False)])
def test_a_pod_is_named_by_its_uid(uid: str, right: bool) -> None:
    expected = Expected(rule="socket-leak", culprits=(Who("app", pod="u1"),))
    named = party("culprit", 100, "app") | {"process": None, "pod": {"uid": uid}}
    assert score(expected, diagnosis(leak(named))).right is right


@pytest.mark.parametrize(("comm", "right"), [("app", True), ("tini", False)])
def test_who_names_a_process_of_the_pod_names_the_one_that_did_it(comm: str, right: bool) -> None:
    """The pod alone is right; another program of it is not."""
    expected = Expected(rule="socket-leak", culprits=(Who("app", pod="u1"),))
    named = party("culprit", 100, comm) | {"pod": {"uid": "u1"}}
    result = score(expected, diagnosis(leak(named)))
    assert (result.missing == (), result.blamed == ()) == (right, right)
