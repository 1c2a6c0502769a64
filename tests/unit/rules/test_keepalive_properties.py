"""What holds of every answer about kept-alive connections, whatever the node."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.connections import Connections
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue

from .arbitrary import Dice
from .arbitrary_connections import AGENTS, recording_of, watched_recordings
from .keepalives import RULE
from .nodes import answers, findings, parties
from .test_redacted import assert_judged_alike

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(watched_recordings())
def test_the_answer_has_evidence_that_can_be_repeated(node: Recording) -> None:
    found = answers(node, RULE)
    assert found
    assert all(a.rule == RULE for a in found)
    assert len(found) == 1 or all(isinstance(a, Finding) for a in found)
    for answer in found:
        if isinstance(answer, Finding | Cleared):
            assert answer.evidence
            assert all(e.statement and e.source and e.repeat and e.value is not None for e in answer.evidence)


@quick
@given(watched_recordings(moments=1))
def test_one_snapshot_shows_nothing(node: Recording) -> None:
    assert findings(node, RULE) == []


@quick
@given(watched_recordings())
def test_the_culprit_is_a_client_that_is_known_and_was_seen_to_write_too_late(node: Recording) -> None:
    for f in findings(node, RULE):
        culprits = parties(f, "culprit")
        assert len(culprits) <= 1
        if culprits:
            assert (f.shape, f.severity) == ("reused-too-late", "warning")
            assert f.confidence in ("proven", "likely")
        if f.confidence == "proven":
            assert culprits
        assert (f.severity == "info") == (f.confidence == "possible")


@quick
@given(watched_recordings())
def test_the_culprits_own_connections_were_reset(node: Recording) -> None:
    """Of a container with several processes, the one that wrote too late or none."""
    series = node.series(Connections)
    hit = {g.comm for _, sample in series for g in sample.groups if g.ending == "reset-received"}
    for f in findings(node, RULE):
        for culprit in parties(f, "culprit"):
            if isinstance(culprit.process, Process) and culprit.process.comm in AGENTS:
                assert culprit.process.comm in hit


@quick
@given(watched_recordings())
def test_without_a_reset_there_is_no_finding(node: Recording) -> None:
    assert findings(without(node, {"reset-received", "late-data"}), RULE) == []


@quick
@given(watched_recordings())
def test_findings_fit_in_the_forms_that_carry_them(node: Recording) -> None:
    found = findings(node, RULE)
    assert len({f.id for f in found}) == len(found)
    for f in found:
        assert len(f.summary.encode()) <= 80
        assert f.reason.isalnum()
        assert all(p.endpoint != Endpoint(None, None) for p in f.parties)
        assert f.claim == catalogue()[f.rule].claim
        assert f.shape in catalogue()[f.rule].shapes
        assert f.remedies[0].action == "capture"
        assert [p.role for p in f.parties][1:].count("peer") == len(f.parties) - 1
        assert all(shlex.split(r.command) for r in f.remedies if r.command is not None)
        assert all(shlex.split(e.repeat, comments=True) for e in f.evidence)


@quick
@given(watched_recordings(), st.integers(0, 2**16))
def test_the_order_of_groups_changes_no_judgement(node: Recording, seed: int) -> None:
    """Only who of equals is listed may depend on it."""
    found = findings(node, RULE)
    if not any("more pairs" in line for f in found for line in f.explanation):
        assert Counter(map(told, findings(shuffled(node, seed), RULE))) == Counter(map(told, found))


def told(f: Finding) -> tuple[object, ...]:
    return f.shape, f.severity, f.confidence, tuple((e.unit, round(float(e.value or 0), 1)) for e in f.evidence)


def shuffled(node: Recording, seed: int) -> Recording:
    def mixed(sample: Connections) -> Connections:
        return replace(sample, groups=tuple(Random(seed).sample(sample.groups, len(sample.groups))))

    return replace(node, snapshots=tuple(changed(s, mixed) for s in node.snapshots))


def without(node: Recording, endings: set[str]) -> Recording:
    def kept(sample: Connections) -> Connections:
        return replace(sample, groups=tuple(g for g in sample.groups if g.ending not in endings))

    return replace(node, snapshots=tuple(changed(s, kept) for s in node.snapshots))


def changed(snapshot: Snapshot, change: Callable[[Connections], Connections]) -> Snapshot:
    sample = snapshot.samples.get("connections")
    if not isinstance(sample, Connections):
        return snapshot
    return replace(snapshot, samples={**snapshot.samples, "connections": change(sample)})


@quick
@given(watched_recordings())
def test_any_node_is_judged_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_judged_alike(node, [RULE])


def test_these_nodes_have_every_shape() -> None:
    """So that the properties above are about something."""
    missing = {(shape, sure) for shape in catalogue()[RULE].shapes for sure in ("info",)} | {
        ("reused-too-late", "warning"), ("forgotten-on-the-way", "warning"),
    }  # fmt: skip
    for seed in range(6_000):
        missing -= {(str(f.shape), f.severity) for f in findings(recording_of(Dice(seed), 3), RULE)}
        if not missing:
            return
    raise AssertionError(f"no node has {missing}")
