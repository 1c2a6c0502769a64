"""The scorer can fail: each way of being wrong is invented here once, beside the right answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.case import Expected, Named
from lab.score import TIME_OUT, Score, score
from lab.who import Who

CLIENT = Who("foo-health", frozenset({100}))
OTHER = Who("bar-health", frozenset({110}))
SERVER = Who("nginx", frozenset({200, 201}))
LEAK = Expected(
    rule="socket-leak",
    shapes=("response-never-read",),
    culprits=(CLIENT,),
    innocent=(SERVER,),
    others=(Named(SERVER, ("holder", "victim")),),
    endpoint=("10.77.0.2", 80),
)
REMOTE = Who("rpc-client", address="203.0.113.7")
FULL = Expected(
    rule="conntrack-table", severities=("critical",), shapes=("churn",), culprits=(REMOTE,), innocent=(SERVER,)
)
HEALTHY = Expected(rule=None, innocent=(SERVER, CLIENT))
MISMATCH = Expected(
    rule="keepalive-mismatch",
    severities=("warning",),
    tolerated=(CLIENT,),
    innocent=(SERVER, OTHER),
    bystanders=(OTHER,),
    others=(Named(CLIENT, ("culprit", "victim")), Named(SERVER, ("holder", "peer"))),
    endpoint=("10.77.0.2", 80),
)

Json = dict[str, Any]


def party(role: str, pid: int, comm: str, **more: object) -> Json:
    return {"role": role, "process": {"pid": pid, "comm": comm, "state": more.pop("state", "sleeping")}, **more}


def leak(*parties: Json, **changed: object) -> Json:
    peer = {"role": "peer", "endpoint": {"address": "10.77.0.2", "port": 80}}
    return {
        "id": "socket-leak:1",
        "rule": "socket-leak",
        "severity": "warning",
        "shape": "response-never-read",
        "title": "One process never reads its responses",
        "parties": [*parties, peer],
        **changed,
    }


def diagnosis(*findings: Json, cleared: tuple[str, ...] | None = None) -> Json:
    found = {finding["rule"] for finding in findings}
    rules = {"socket-leak", "tcp-memory"} - found if cleared is None else cleared
    return {"findings": list(findings), "cleared": [{"rule": rule} for rule in sorted(rules)]}


def full(*parties: Json, **changed: object) -> Json:
    return leak(*parties, **{"id": "conntrack-table:1", "rule": "conntrack-table", "severity": "critical",
                             "shape": "churn", **changed})  # fmt: skip


CULPRIT = party("culprit", 100, "foo-health", share=0.9)
HOLDER = party("holder", 201, "nginx")


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


AT = {"role": "culprit", "endpoint": {"address": "203.0.113.7", "port": None}}


@pytest.mark.parametrize("named", [AT, {"role": "culprit", "address": "203.0.113.7"}])
def test_who_is_known_by_the_address_alone_may_be_named_by_it(named: Json) -> None:
    assert score(FULL, diagnosis(full(named, HOLDER))) == Score()


@pytest.mark.parametrize(
    "named",
    [
        {"role": "culprit", "endpoint": {"address": "203.0.113.8", "port": None}},
        {"role": "peer", "endpoint": {"address": "203.0.113.7", "port": None}},
        party("culprit", 200, "nginx", endpoint={"address": "203.0.113.7", "port": 80}),
    ],
    ids=["another address", "another role", "a program that has it as its peer"],
)
def test_another_than_the_address_is_not_it(named: Json) -> None:
    said = diagnosis(full(named))
    assert "culprit rpc-client at 203.0.113.7" in score(FULL, said).missing


def test_an_address_is_not_enough_for_a_program_of_this_node() -> None:
    expected = Expected(rule="conntrack-table", culprits=(CLIENT,))
    result = score(expected, diagnosis(full(AT)))
    assert result.missing == ("culprit foo-health[100]",)
    assert result.blamed


def test_a_warning_where_packets_are_dropped_is_wrong() -> None:
    result = score(FULL, diagnosis(full(AT, severity="warning")))
    assert result.wrong == ("severity of conntrack-table is ['warning'], not critical",)


def test_the_shape_of_a_finding_that_names_nobody_is_judged() -> None:
    spread = Expected(rule="conntrack-table", shapes=("spread",), innocent=(SERVER,))
    assert score(spread, diagnosis(full(HOLDER, shape="spread"))).right
    assert score(spread, diagnosis(full(HOLDER))).wrong


def test_a_hang_beside_the_culprit_need_not_name_it() -> None:
    expected = Expected(rule="conntrack-table", also=("service-hang",), culprits=(REMOTE,))
    hang = leak(HOLDER, rule="service-hang", id="service-hang:1")
    assert score(expected, diagnosis(full(AT), hang)).right


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


def mismatched(*parties: Json, **changed: object) -> Json:
    return leak(*parties, **{"id": "keepalive-mismatch:1", "rule": "keepalive-mismatch", "shape": None, **changed})


ASKER = party("victim", 100, "foo-health")
CLOSER = party("peer", 201, "nginx")
NEIGHBOUR = party("peer", 110, "bar-health")


@pytest.mark.parametrize("asker", [ASKER, party("culprit", 100, "foo-health")], ids=["victim", "culprit"])
def test_a_mismatch_names_both_sides_and_may_blame_the_one_that_asks(asker: Json) -> None:
    assert score(MISMATCH, diagnosis(mismatched(asker, CLOSER))) == Score()


def test_a_mismatch_of_which_one_side_is_missing_is_half_an_answer() -> None:
    assert score(MISMATCH, diagnosis(mismatched(ASKER))).missing == ("holder or peer nginx[200/201]",)
    assert score(MISMATCH, diagnosis(mismatched(CLOSER))).missing == ("culprit or victim foo-health[100]",)


def test_the_server_that_closes_what_is_idle_is_not_to_blame() -> None:
    said = diagnosis(mismatched(ASKER, CLOSER, party("culprit", 201, "nginx")))
    assert score(MISMATCH, said).blamed == ("nginx[200/201] by keepalive-mismatch:1",)


def test_a_mismatch_at_another_endpoint_is_the_wrong_hop() -> None:
    said = mismatched(ASKER, CLOSER)
    elsewhere = {**said, "parties": [ASKER, CLOSER, {"role": "peer", "endpoint": {"address": "10.77.0.9", "port": 80}}]}
    assert score(MISMATCH, diagnosis(elsewhere)).wrong


@pytest.mark.parametrize("rule", ["keepalive-mismatch", "resets"])
def test_a_bystander_is_drawn_into_no_finding(rule: str) -> None:
    expected = replace(MISMATCH, also=("resets",))
    other = mismatched(NEIGHBOUR, rule=rule, id=f"{rule}:2")
    result = score(expected, diagnosis(mismatched(ASKER, CLOSER), other))
    assert result.blamed == (f"bar-health[110] as peer by {rule}:2",)


@pytest.mark.parametrize(
    ("neighbour", "changed"),
    [(party("victim", 110, "bar-health"), {}), (NEIGHBOUR, {"severity": "info"})],
    ids=["as a victim", "in a finding of severity info"],
)
def test_a_bystander_may_be_mentioned(neighbour: Json, changed: Json) -> None:
    other = mismatched(neighbour, id="keepalive-mismatch:2", **changed)
    assert score(MISMATCH, diagnosis(mismatched(ASKER, CLOSER), other)).right


def test_a_bystander_that_is_blamed_is_said_to_be_once() -> None:
    said = diagnosis(mismatched(ASKER, CLOSER, party("culprit", 110, "bar-health")))
    assert score(MISMATCH, said).blamed == ("bar-health[110] by keepalive-mismatch:1",)


def told(value: float | None, unit: str = "seconds", statement: str = TIME_OUT + "10.0.0.1:80 closes") -> Json:
    return {"value": value, "unit": unit, "statement": statement}


@pytest.mark.parametrize(
    ("evidence", "right"),
    [
        ([told(5.0)], True),
        ([told(4.8, "s"), told(6.3, "s")], True),
        ([told(6.3)], False),
        ([told(5.0, "connections")], False),
        ([told(None)], False),
        ([told(6.3), told(5.0, statement="Longest idle time before such a write")], False),
        ([], False),
    ],
)
def test_the_time_out_that_was_measured_has_to_be_said(evidence: list[Json], right: bool) -> None:
    expected = replace(MISMATCH, seconds=(4.8, 5.2))
    result = score(expected, diagnosis(mismatched(ASKER, CLOSER, evidence=evidence)))
    assert result.right == right
    assert right or result.wrong[0].endswith("none from 4.800 to 5.200 s")


def test_the_time_of_another_rule_does_not_count() -> None:
    other = mismatched(rule="resets", id="resets:1", severity="info", evidence=[told(5.0)])
    found = mismatched(ASKER, CLOSER, evidence=[])
    assert score(replace(MISMATCH, seconds=(4.8, 5.2)), diagnosis(found, other)).wrong


QUEUE = Expected(
    rule="nic-drops",
    others=(Named(Who("wire", netns=7, device="veth2"), ("holder",)),),
    causes=("settings",),
    mentions=("net.ipv4.ip_forward",),
)


def queue_finding(role: str = "holder", netns: int = 7, device: str = "veth2", **changed: object) -> Json:
    place = {"role": role, "netns": netns, "device": device}
    said = {"rule": "nic-drops", "caused_by": ["settings:1"], "title": "net.ipv4.ip_forward is 0", **changed}
    return leak(place, id="nic-drops:1", **said)


def test_a_device_of_a_namespace_is_named_by_both() -> None:
    assert score(QUEUE, diagnosis(queue_finding())) == Score()
    assert score(replace(QUEUE, others=(Named(Who("wire", netns=7), ("holder",)),)), diagnosis(queue_finding())).right


@pytest.mark.parametrize("other", [{"role": "victim"}, {"netns": 8}, {"device": "veth3"}])
def test_another_device_namespace_or_role_is_not_it(other: Json) -> None:
    assert score(QUEUE, diagnosis(queue_finding(**other))).missing == ("holder veth2 wire (netns 7)",)


def test_a_setting_that_is_not_mentioned_and_a_cause_that_is_not_seen_are_wrong() -> None:
    result = score(QUEUE, diagnosis(queue_finding(title="Forwarding is off", caused_by=[])))
    assert result.wrong == ("nic-drops does not mention net.ipv4.ip_forward", "nic-drops does not stand under settings")
