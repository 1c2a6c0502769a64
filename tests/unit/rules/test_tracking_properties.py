"""What holds of every answer about tracked connections and devices, whatever the node."""

from __future__ import annotations

import shlex
from collections import Counter
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .arbitrary import Dice
from .arbitrary_tracking import recording_of, tracked_recordings
from .test_redacted import assert_judged_alike

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("dns-race", "service-hang", "provider-limits")


def every(node: Recording) -> list[Answer]:
    return [answer for rule in RULES for answer in judge(rule, node)]


def findings(node: Recording) -> list[Finding]:
    return [a for a in every(node) if isinstance(a, Finding)]


@quick
@given(tracked_recordings())
def test_every_rule_answers_with_evidence_that_can_be_repeated(node: Recording) -> None:
    for rule in RULES:
        answers = judge(rule, node)
        assert answers
        assert all(a.rule == rule for a in answers)
        assert len(answers) == 1 or all(isinstance(a, Finding) for a in answers)
    for answer in every(node):
        if isinstance(answer, Finding | Cleared):
            assert answer.evidence
            assert all(e.statement and e.source and e.repeat and e.value is not None for e in answer.evidence)


@quick
@given(tracked_recordings(moments=1))
def test_one_snapshot_is_never_more_than_possible(node: Recording) -> None:
    assert all(f.confidence == "possible" for f in findings(node))


@quick
@given(tracked_recordings())
def test_nobody_is_called_the_culprit(node: Recording) -> None:
    assert all(p.role != "culprit" for f in findings(node) for p in f.parties)


@quick
@given(tracked_recordings())
def test_findings_fit_in_the_forms_that_carry_them(node: Recording) -> None:
    found = findings(node)
    assert len({f.id for f in found}) == len(found)
    for f in found:
        assert len(f.summary.encode()) <= 80
        assert f.reason.isalnum()
        assert f.claim == catalogue()[f.rule].claim
        assert f.shape in catalogue()[f.rule].shapes
        assert f.remedies[0].action == "capture"
        assert all(shlex.split(r.command) for r in f.remedies if r.command is not None)
        assert all(shlex.split(e.repeat, comments=True) for e in f.evidence)


@quick
@given(tracked_recordings(), st.integers(0, 2**16))
def test_the_order_of_groups_changes_no_judgement(node: Recording, seed: int) -> None:
    """Only who of equals is listed may depend on it."""
    found = findings(node)
    if not any("are as silent" in line for f in found for line in f.explanation):
        assert Counter(map(told, findings(shuffled(node, seed)))) == Counter(map(told, found))


def told(f: Finding) -> tuple[object, ...]:
    return f.rule, f.shape, f.severity, f.confidence, tuple((e.unit, e.value) for e in f.evidence)


def shuffled(node: Recording, seed: int) -> Recording:
    return replace(node, snapshots=tuple(shuffled_snapshot(s, seed) for s in node.snapshots))


def shuffled_snapshot(snapshot: Snapshot, seed: int) -> Snapshot:
    table = snapshot.samples.get("conntrack")
    if not isinstance(table, Conntrack):
        return snapshot
    groups = list(table.groups)
    Random(seed).shuffle(groups)
    return replace(snapshot, samples={**snapshot.samples, "conntrack": replace(table, groups=tuple(groups))})


@quick
@given(tracked_recordings())
def test_any_node_is_judged_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_judged_alike(node)


def test_these_nodes_have_every_shape() -> None:
    """So that the properties above are about something."""
    missing = {shape for rule in RULES for shape in catalogue()[rule].shapes}
    for seed in range(3_000):
        missing -= {f.shape for f in findings(recording_of(Dice(seed), 2))}
        if not missing:
            return
    raise AssertionError(f"no node has {missing}")
