"""Consequences under their cause, and the order of findings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from whodunnet.diagnosis.causes import link, rank
from whodunnet.diagnosis.ties import CAUSE_SHARE
from whodunnet.model.finding import SEVERITIES, Confidence, Evidence, Finding, Party, PartyRole, Severity
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Process
from whodunnet.rules.softnet_drops import MEANWHILE
from whodunnet.rules.stall_evidence import LONG_BY, READS_MEMORY_STAT, TOGETHER
from whodunnet.rules.table_evidence import DROPS_SOURCE
from whodunnet.rules.tcp_memory import ABORTS_SOURCE
from whodunnet.rules.zombie_cgroups import CHANGED, IN_USE

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def finding(id_: str, rule: str = "tcp-memory", *, parties: tuple[Party, ...] = (), **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "reason": "Reason", "severity": "critical", "claim": "holds", "confidence": "proven", "summary": "s",
        "title": "t", "last_seen": AT, "evidence": (),
    }  # fmt: skip
    return Finding(id=id_, rule=rule, parties=parties, **{**fields, **other})


def leak(
    id_: str = "leak", *, share: float | None = 0.9, role: PartyRole = "culprit", confidence: Confidence = "proven",
    **other: Any,
) -> Finding:  # fmt: skip
    """A leak that would explain used up memory."""
    party = Party(role=role) if share is None else Party(role=role, share=share)
    fields = {"parties": (party,), "claim": "leaks", "would_explain": ("tcp-memory",), **other}
    return finding(id_, "socket-leak", confidence=confidence, **fields)


MEMORY = finding("memory")


def causes(*findings: Finding) -> dict[str, tuple[str, ...]]:
    return {f.id: f.caused_by for f in link(findings)}


def order(*findings: Finding) -> list[str]:
    return [f.id for f in rank(findings)]


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


# --- A full table of tracked connections -------------------------------------------------------------------------

POD = Pod(namespace="shop", name="web-1", uid="u1")
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


def test_nothing_is_linked_to_nothing() -> None:
    assert (link([]), rank([])) == ([], [])


def test_the_worst_comes_first() -> None:
    for some in permutations([finding(s, severity=s) for s in SEVERITIES]):
        assert order(*some) == ["critical", "warning", "info"]


def test_a_cause_comes_before_what_it_causes_at_the_same_severity() -> None:
    assert order(finding("memory", caused_by=("leak",)), leak(confidence="possible")) == ["leak", "memory"]


def test_a_worse_consequence_comes_before_a_milder_cause() -> None:
    assert order(leak(severity="warning"), finding("memory", caused_by=("leak",))) == ["memory", "leak"]


def test_the_surer_comes_first_and_then_the_larger() -> None:
    some = [
        leak("large and possible", confidence="possible"), leak("small", share=0.1), leak("large", share=0.8),
        leak("likely", confidence="likely"), leak("none", share=None),
    ]  # fmt: skip
    for shuffled in permutations(some):
        assert order(*shuffled)[:2] == ["large", "small"]
        assert order(*shuffled)[2:] == ["none", "likely", "large and possible"]


def test_equal_findings_keep_their_order() -> None:
    assert order(leak("a"), leak("b"), leak("c")) == ["a", "b", "c"]


severity: st.SearchStrategy[Severity] = st.sampled_from(SEVERITIES)
some_findings = st.lists(
    st.tuples(st.sampled_from(["socket-leak", "tcp-memory"]), severity, st.none() | st.floats(0, 1)), max_size=6
)


@given(some_findings)
def test_linking_and_ranking_lose_and_invent_nothing(some: list[tuple[str, Severity, float | None]]) -> None:
    given_findings = [
        leak(f"f{n}", share=share, severity=bad) if rule == "socket-leak" else finding(f"f{n}", rule, severity=bad)
        for n, (rule, bad, share) in enumerate(some)
    ]
    ranked = rank(link(given_findings))
    ids = [f.id for f in ranked]
    assert sorted(ids) == sorted(f.id for f in given_findings)
    assert [SEVERITIES.index(f.severity) for f in ranked] == sorted(SEVERITIES.index(f.severity) for f in ranked)
    for f in ranked:
        assert set(f.caused_by) <= set(ids) - {f.id}
        assert all(f.id in c.would_explain for c in ranked if c.id in f.caused_by)


# --- Packets that wait for a CPU ----------------------------------------------------------------------------------

NODE_VICTIM = Party(role="victim", node="n1", cpus=(1,), effect="received packets waited")


def reading(statement: str, value: int, limit: int, comparison: str | None = "of") -> Evidence:
    return Evidence(
        statement=statement, value=value, unit="samples", limit=limit, comparison=comparison, source="stalls", at=AT,
        repeat="whodunnet stalls",
    )  # fmt: skip


def zombies(*evidence: Evidence) -> Finding:
    return finding(
        "zombies", "zombie-cgroups", would_explain=("rx-stall",), confidence="possible", severity="info",
        title="48,000 are kept", evidence=evidence,
    )  # fmt: skip


def stalled(*evidence: Evidence, **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "parties": (NODE_VICTIM,), "would_explain": ("softnet-drops",), "shape": "syscall-hog", **other,
    }  # fmt: skip
    return finding("stall", "rx-stall", evidence=evidence, **fields)


@pytest.mark.parametrize(("samples", "linked"), [(20, True), (19, False)])
def test_cgroups_that_a_stalled_reader_walks_are_the_cause_of_the_stall(samples: int, linked: bool) -> None:
    """Whatever else is in its functions: deleted cgroups alone hurt nobody."""
    walk = reading(LONG_BY["walk"], samples, 40)
    assert causes(zombies(), stalled(walk))["stall"] == (("zombies",) if linked else ())
    assert causes(zombies(), stalled(reading(READS_MEMORY_STAT, 40, 40)))["stall"] == ()
    assert causes(zombies(), stalled())["stall"] == ()


@pytest.mark.parametrize(("comparison", "linked"), [(">=", True), ("<", False), (None, False)])
def test_sums_of_what_changes_go_through_deleted_cgroups_only_if_most_changes_are_theirs(
    comparison: str | None, linked: bool
) -> None:
    flush = stalled(reading(LONG_BY["flush"], 40, 40))
    changed = (reading(CHANGED, 300, 300, comparison),) if comparison is not None else ()
    assert causes(zombies(*changed), flush)["stall"] == (("zombies",) if linked else ())


@pytest.mark.parametrize(
    ("seconds", "linked"), [(0.0501, False), (0.05011, True), (0.5, True)], ids=["as long", "longer", "ten times"]
)
def test_sums_that_take_longer_than_those_of_cgroups_in_use_are_of_deleted_ones(seconds: float, linked: bool) -> None:
    """On average of all times: here of ten."""
    in_use = structs.replace(reading(IN_USE, 0, 0), value=0.00501, unit="seconds")
    times = structs.replace(reading("Times without a sample", 10, 0), unit="stalls")
    together = structs.replace(reading(TOGETHER, 0, 0), value=seconds, unit="seconds")
    flush = stalled(times, together, reading(LONG_BY["flush"], 40, 40))
    fewer = stalled(times, together, reading(LONG_BY["flush"], 19, 40))
    assert causes(zombies(in_use), flush)["stall"] == (("zombies",) if linked else ())
    assert causes(zombies(), flush)["stall"] == causes(zombies(in_use), fewer)["stall"] == ()
    if linked:
        told = link([zombies(in_use), flush])[1].evidence[-1]
        assert told.statement.startswith("Each on average, longer than sums of the cgroups in use take")
        assert (told.value, told.comparison, told.limit) == (seconds / 10, ">", 0.00501)


def test_what_causes_a_stall_is_as_grave_stands_above_it_and_is_told_as_its_cause() -> None:
    walk = reading(LONG_BY["walk"], 40, 40)
    ranked = rank(link([stalled(walk), zombies()]))
    assert [(f.id, f.severity, f.parties) for f in ranked] == [
        ("zombies", "critical", (NODE_VICTIM,)), ("stall", "critical", (NODE_VICTIM,)),
    ]  # fmt: skip
    assert ranked[0].title == (
        "48,000 are kept, and whoever reads memory.stat goes through them while packets wait"
    )  # fmt: skip
    assert ranked[0].explanation[0].startswith("The stall below was seen")


def test_beside_another_stall_they_stay_worth_knowing_and_explain_nothing() -> None:
    alone = link([stalled(), zombies()])[1]
    assert (alone.severity, alone.would_explain, alone.title) == ("info", (), "48,000 are kept")


def dropped(n: int = 60, *, of: int = 100, cpus: tuple[int, ...] = (1,)) -> Finding:
    victim = Party(role="victim", node="n1", cpus=cpus)
    return finding(
        "drops", "softnet-drops", shape="queue-full", parties=(victim,), evidence=(reading(MEANWHILE, n, of),)
    )


@pytest.mark.parametrize(
    ("drops", "linked"),
    [(dropped(50), True), (dropped(49), False), (dropped(cpus=(0,)), False), (dropped(cpus=(0, 1)), True)],
)
def test_what_a_cpu_drops_while_it_is_held_is_caused_by_the_stall(drops: Finding, linked: bool) -> None:
    assert causes(stalled(), drops)["drops"] == (("stall",) if linked else ())
    (stall, _) = link([stalled(), drops])
    assert stall.would_explain == (("drops",) if linked else ())


def test_a_stall_that_is_only_possible_causes_no_drops() -> None:
    assert causes(stalled(confidence="possible"), dropped())["drops"] == ()


def test_drops_of_which_no_stall_was_looked_for_have_no_cause() -> None:
    silent = finding("drops", "softnet-drops", shape="queue-full", parties=(NODE_VICTIM,))
    assert causes(stalled(), silent)["drops"] == ()


def test_deleted_cgroups_a_stall_and_what_it_drops_are_one_case() -> None:
    walk = reading(LONG_BY["walk"], 40, 40)
    assert causes(dropped(), stalled(walk), zombies()) == {"drops": ("stall",), "stall": ("zombies",), "zombies": ()}


# --- Ties by magnitude and by time --------------------------------------------------------------------------------


def counted(value: int, source: str = "s") -> Evidence:
    return Evidence(statement="counted", value=value, unit="packets", source=source, at=AT, repeat="cat it")


def resets(n: int, shape: str = "reset-between") -> Finding:
    return finding("resets", "resets", shape=shape, severity="warning", evidence=(counted(n),))


def full_memory(aborted: int | None, **other: Any) -> Finding:
    found = () if aborted is None else (counted(aborted, ABORTS_SOURCE),)
    return finding("memory", evidence=found, **{"would_explain": ("resets",), **other})


@pytest.mark.parametrize(("aborted", "linked"), [(None, False), (49, False), (50, True), (500, True)])
def test_connections_that_the_kernel_gave_up_for_lack_of_memory_are_the_cause_of_as_many_resets(
    aborted: int | None, linked: bool
) -> None:
    assert bool(causes(full_memory(aborted), resets(100))["resets"]) is linked


def test_memory_that_is_not_used_up_resets_nobody_and_no_client_that_aborts() -> None:
    assert causes(full_memory(500, severity="warning"), resets(100))["resets"] == ()
    assert causes(full_memory(500), resets(100, "client-aborts"))["resets"] == ()
    assert link([full_memory(500), resets(100, "client-aborts")])[0].would_explain == ()


@pytest.mark.parametrize(("dropped", "linked"), [(9, False), (10, True)])
def test_packets_that_the_provider_drops_are_the_cause_of_as_many_lost_connects(dropped: int, linked: bool) -> None:
    limit = finding(
        "limit", "provider-limits", shape="connections", severity="warning", would_explain=("connect-timeout",),
        evidence=(counted(dropped),),
    )  # fmt: skip
    lost = finding("lost", "connect-timeout", shape="lost-at-times", severity="warning", evidence=(counted(20),))
    assert bool(causes(limit, lost)["lost"]) is linked
    assert (
        causes(limit, finding("lost", "connect-timeout", shape="nobody-answers", evidence=(counted(1),)))["lost"] == ()
    )


def test_what_began_after_the_other_was_over_explains_nothing() -> None:
    late = leak(since=AT + timedelta(seconds=1))
    assert causes(MEMORY, late)["memory"] == ()
    assert link([MEMORY, late])[1].would_explain == ()


def test_of_two_possible_causes_that_which_began_first_comes_first_and_each_says_why() -> None:
    memory = finding("memory", since=AT - timedelta(seconds=60))
    before, after = leak("before", since=AT - timedelta(seconds=90)), leak("after", since=AT - timedelta(seconds=30))
    for some in permutations([memory, before, after]):
        found = {f.id: f for f in link(some)}["memory"]
        assert found.caused_by == ("before", "after")
        assert [e.statement for e in found.evidence] == [
            "Share of all TCP memory that is tied up by a possible cause, before, which began 30 s earlier",
            "Share of all TCP memory that is tied up by a possible cause, after, which began 30 s later",
        ]


def test_of_two_possible_causes_the_surer_comes_first() -> None:
    assert causes(MEMORY, leak("likely", confidence="likely"), leak("proven"))["memory"] == ("proven", "likely")


# --- Listeners, and causes of causes -----------------------------------------------------------------------------

HERE = Endpoint("10.0.0.5", 80)


def listener(
    role: PartyRole = "culprit", endpoint: Endpoint = HERE, netns: int | None = 7, pod: Pod | None = POD
) -> Party:
    return Party(role=role, endpoint=endpoint, netns=netns, pod=pod, process=Process(pid=7, comm="web"))


def queue(*parties: Party, shape: str = "stuck", **other: Any) -> Finding:
    fields = {"would_explain": ("connect-timeout",), "severity": "warning", "evidence": (counted(3),), **other}
    return finding("queue", "accept-queue", parties=parties or (listener(),), shape=shape, **fields)


def timeout(*parties: Party, shape: str = "queue-full") -> Finding:
    return finding("timeout", "connect-timeout", parties=parties or (listener(),), shape=shape, severity="warning")


@pytest.mark.parametrize(
    ("party", "linked"),
    [
        (listener("peer"), True),
        (listener("peer", Endpoint("10.0.0.5", 81)), False),
        (listener("peer", Endpoint("10.96.0.1", 80)), True),
        (listener("peer", netns=8, pod=Pod(namespace="shop", name="web-2", uid="u2")), True),
        (listener("peer", Endpoint("10.0.0.6", 80), 8, Pod(namespace="shop", name="web-2", uid="u2")), False),
        (Party(role="peer", endpoint=HERE), True),
        (Party(role="peer", netns=7), False),
        (Party(role="peer", endpoint=Endpoint("::", 80)), False),
    ],
    ids=["the same", "port", "owner", "address", "none of them", "address alone", "no port", "any address"],
)
def test_a_full_queue_is_the_cause_of_connects_to_that_listener_only(party: Party, linked: bool) -> None:
    assert bool(causes(queue(), timeout(party))["timeout"]) is linked
    assert bool(link([queue(), timeout(party)])[0].would_explain) is linked
    assert bool(link([queue(confidence="possible"), timeout(party)])[0].would_explain) is linked


def test_two_listeners_at_every_address_are_not_one() -> None:
    every, elsewhere = Endpoint("::", 80), Pod(namespace="shop", name="web-2", uid="u2")
    assert causes(queue(listener(endpoint=every)), timeout(listener("peer", every, 8, elsewhere)))["timeout"] == ()
    assert causes(queue(confidence="possible"), timeout())["timeout"] == ()


def test_memory_that_is_used_up_is_the_cause_of_servers_that_are_slow_to_accept_and_of_none_that_is_stuck() -> None:
    memory = full_memory(0, would_explain=("accept-queue",))
    assert causes(memory, queue(shape="slow"))["queue"] == ("memory",)
    assert causes(memory, queue(shape="stuck"))["queue"] == ()
    assert (
        causes(full_memory(0, would_explain=("accept-queue",), severity="warning"), queue(shape="slow"))["queue"] == ()
    )


def test_a_consequence_stands_under_the_nearest_of_causes_that_cause_each_other() -> None:
    explains = ("accept-queue", "connect-timeout")
    stuck = leak(parties=(listener(),), shape="accept-not-called", would_explain=explains, evidence=(counted(3),))
    for some in permutations([stuck, queue(), timeout()]):
        assert causes(*some) == {"leak": (), "queue": ("leak",), "timeout": ("queue",)}
    assert causes(stuck, timeout())["timeout"] == ("leak",)
