"""The scorer at what is named by an address or a device instead of a program."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.case import Expected, Named
from lab.score import Score, score
from lab.who import Who

from .answers import CLIENT, HOLDER, SERVER, Json, diagnosis, leak, party

REMOTE = Who("rpc-client", address="203.0.113.7")
FULL = Expected(
    rule="conntrack-table", severities=("critical",), shapes=("churn",), culprits=(REMOTE,), innocent=(SERVER,)
)


def full(*parties: Json, **changed: object) -> Json:
    return leak(*parties, **{"id": "conntrack-table:1", "rule": "conntrack-table", "severity": "critical",
                             "shape": "churn", **changed})  # fmt: skip


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
