"""What holds of every answer about the receiving side and memory cgroups, whatever the node."""

from __future__ import annotations

import shlex

from hypothesis import HealthCheck, given, settings

from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .arbitrary import Dice
from .arbitrary_softnet import receiving_recordings, recording_of
from .test_redacted import assert_judged_alike

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("softnet-drops", "rx-imbalance", "zombie-cgroups")


def every(node: Recording) -> list[Answer]:
    return [answer for rule in RULES for answer in judge(rule, node)]


def findings(node: Recording) -> list[Finding]:
    return [a for a in every(node) if isinstance(a, Finding)]


@quick
@given(receiving_recordings())
def test_every_rule_answers_once_with_evidence_that_can_be_repeated(node: Recording) -> None:
    answers = every(node)
    assert [a.rule for a in answers] == list(RULES)
    for answer in answers:
        if isinstance(answer, Finding | Cleared):
            assert answer.evidence
            assert all(e.statement and e.source and e.repeat and e.value is not None for e in answer.evidence)


@quick
@given(receiving_recordings(moments=1))
def test_one_snapshot_is_never_more_than_possible(node: Recording) -> None:
    assert all(f.confidence == "possible" for f in findings(node))


@quick
@given(receiving_recordings())
def test_nobody_is_called_the_culprit(node: Recording) -> None:
    assert all(p.role == "victim" for f in findings(node) for p in f.parties)


@quick
@given(receiving_recordings())
def test_findings_fit_in_the_forms_that_carry_them(node: Recording) -> None:
    for f in findings(node):
        entry = catalogue()[f.rule]
        assert len(f.summary.encode()) <= 80
        assert f.reason.isalnum()
        assert f.claim == entry.claim
        assert f.shape in (entry.shapes or (None,))
        assert f.since is None or f.since <= f.last_seen
        assert f.remedies[0].action == "capture"
        assert all(shlex.split(r.command, comments=True) for r in f.remedies if r.command is not None)
        assert all(shlex.split(e.repeat, comments=True) for e in f.evidence)


@quick
@given(receiving_recordings())
def test_any_node_is_judged_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_judged_alike(node)


def test_these_nodes_have_every_shape() -> None:
    """So that the properties above are about something."""
    missing = {shape for rule in RULES for shape in catalogue()[rule].shapes} | {None}
    for seed in range(3_000):
        missing -= {f.shape for f in findings(recording_of(Dice(seed), 4))}
        if not missing:
            return
    raise AssertionError(f"no node has {missing}")
