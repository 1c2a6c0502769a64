"""Consequences under their cause: memory that a leak ties up, and a full table of tracked connections."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.diagnosis.causes import link
from whodunnet.diagnosis.ties import CAUSE_SHARE
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, PartyRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Process
from whodunnet.rules.table_evidence import DROPS_SOURCE

from .linking import AT, MEMORY, POD, causes, finding, leak


def test_a_leak_that_ties_up_most_of_the_memory_is_the_cause_of_its_shortage() -> None:
    assert causes(MEMORY, leak()) == {"memory": ("leak",), "leak": ()}


@pytest.mark.parametrize(("share", "linked"), [(0.4999, False), (CAUSE_SHARE, True), (1.0, True)])
def test_a_cause_must_tie_up_at_least_half(share: float, linked: bool) -> None:
    assert bool(causes(MEMORY, leak(share=share))["memory"]) is linked


@pytest.mark.parametrize(("confidence", "linked"), [("possible", False), ("likely", True), ("proven", True)])
def test_what_is_only_possible_causes_nothing(confidence: Confidence, linked: bool) -> None:
    assert bool(causes(MEMORY, leak(confidence=confidence))["memory"]) is linked


@pytest.mark.parametrize(("role", "linked"), [("culprit", True), ("reader", True), ("holder", False), ("peer", False)])
def test_whoever_only_holds_causes_nothing(role: PartyRole, linked: bool) -> None:
    assert bool(causes(MEMORY, leak(role=role))["memory"]) is linked


@pytest.mark.parametrize("share", [None, 0.0])
def test_a_cause_without_a_share_is_no_evidence(share: float | None) -> None:
    assert causes(MEMORY, leak(share=share))["memory"] == ()


@pytest.mark.parametrize(("of", "linked"), [("all TCP memory", True), ("all tracked connections", False)])
def test_a_share_of_something_else_is_no_evidence(of: str, linked: bool) -> None:
    party = Party(role="culprit", share=0.9, share_of=of)
    assert bool(causes(MEMORY, leak(parties=(party,)))["memory"]) is linked


def test_a_finding_that_claims_to_explain_nothing_causes_nothing() -> None:
    assert causes(MEMORY, leak(would_explain=()))["memory"] == ()


def test_two_causes_are_both_named() -> None:
    assert causes(MEMORY, leak("a", share=0.5), leak("b", share=0.5))["memory"] == ("a", "b")


def test_rules_that_would_be_explained_become_the_findings_that_are_there() -> None:
    there, missing = link([leak(would_explain=("tcp-memory", "retransmits")), MEMORY]), link([leak()])
    assert [f.would_explain for f in there] == [("memory",), ()]
    assert missing[0].would_explain == ()


def test_a_conjecture_stays_one_where_the_link_has_no_evidence() -> None:
    (cause, consequence) = link([leak(share=0.1), MEMORY])
    assert (cause.would_explain, consequence.caused_by) == (("memory",), ())


PEER = Party(role="peer", endpoint=Endpoint("203.0.113.9", 443))


def full_table(*, dropped: int = 0, entries: int = 900, peer: Party = PEER, **other: Any) -> Finding:
    """Full of idle connections of one pod."""
    packets = Evidence(
        statement="drop rose by", value=dropped, unit="packets", source=DROPS_SOURCE, at=AT, repeat="cat it"
    )
    culprit = Party(role="culprit", pod=POD, process=None, share=0.9, entries=entries)
    fields: dict[str, Any] = {
        "shape": "idle-established", "would_explain": ("service-hang", "dns-race"), "parties": (culprit, peer),
        "evidence": (packets,) if dropped else (),
    }  # fmt: skip
    return finding("table", "conntrack-table", **{**fields, **other})


def kept(*, sockets: int = 900, pod: Pod = POD, peer: Party = PEER, **other: Any) -> Finding:
    """A leak of idle connections by one pod."""
    party = Party(role="culprit", pod=pod, process=Process(pid=7, comm="web"), sockets=sockets)
    explains = ("tcp-memory", "conntrack-table")
    return leak(**{"parties": (party, peer), "would_explain": explains, "shape": "held-open", **other})


HANG = finding("hang", "service-hang", severity="warning", shape="dropped-here")
DEAD = finding("dead", "service-hang", severity="warning", shape="dead-endpoint")
RACE = finding("race", "dns-race", severity="warning")


def test_what_a_full_table_drops_is_the_cause_of_names_that_fail_and_connects_that_hang() -> None:
    assert causes(full_table(dropped=5), HANG, RACE) == {"table": (), "hang": ("table",), "race": ("table",)}
    assert causes(full_table(dropped=5), DEAD)["dead"] == (), "its connects have entries"
    (_, hang) = link([full_table(dropped=5), HANG])
    assert (hang.evidence[0].value, hang.evidence[0].source) == (5, DROPS_SOURCE)


def test_a_table_that_drops_nothing_is_no_cause() -> None:
    assert causes(full_table(), HANG)["hang"] == ()
    assert causes(full_table(dropped=5, severity="warning"), HANG)["hang"] == ()


def test_packets_that_were_dropped_need_nobody_to_blame() -> None:
    nobody = full_table(dropped=5, confidence="possible", parties=())
    assert causes(nobody, HANG)["hang"] == ("table",)


def test_connections_that_are_kept_are_the_cause_of_their_entries() -> None:
    found = {f.id: f for f in link([kept(), full_table()])}
    assert found["table"].caused_by == ("leak",)
    assert (found["table"].evidence[-1].value, found["table"].evidence[-1].limit) == (900, 900)


@pytest.mark.parametrize(("sockets", "linked"), [(449, False), (450, True), (5_000, True)])
def test_half_of_the_entries_must_have_a_socket(sockets: int, linked: bool) -> None:
    assert bool(causes(kept(sockets=sockets), full_table())["table"]) is linked


def test_sockets_of_somebody_else_or_to_somewhere_else_are_no_cause_of_entries() -> None:
    elsewhere = Party(role="peer", endpoint=Endpoint("203.0.113.9", 80))
    assert causes(kept(pod=Pod(namespace="shop", name="web-2", uid="u2")), full_table())["table"] == ()
    assert causes(kept(peer=elsewhere), full_table())["table"] == ()
    assert causes(kept(), full_table(shape="churn"))["table"] == ()
    assert causes(kept(confidence="possible"), full_table())["table"] == ()


def test_a_share_of_memory_explains_no_entries() -> None:
    big = kept(parties=(Party(role="culprit", pod=POD, share=0.9, share_of="all TCP memory"), PEER))
    assert causes(big, full_table())["table"] == ()
