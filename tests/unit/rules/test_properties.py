"""What holds of every answer, whatever the node: judged over arbitrary recordings."""

from __future__ import annotations

import shlex

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import SocketGroup, StuckSocket
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import JUDGES, judge

from .arbitrary import PIDS, recordings, window_closed_only
from .nodes import culprits, named, recording

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def every(node: Recording) -> list[Answer]:
    return [answer for rule in JUDGES for answer in judge(rule, node)]


def every_finding(node: Recording) -> list[Finding]:
    return [a for a in every(node) if isinstance(a, Finding)]


@quick
@given(recordings())
def test_every_rule_answers_every_recording(node: Recording) -> None:
    for rule in JUDGES:
        given_answers = judge(rule, node)
        assert given_answers
        assert all(a.rule == rule for a in given_answers)
        assert len(given_answers) == 1 or all(isinstance(a, Finding) for a in given_answers)


@quick
@given(recordings())
def test_no_finding_and_no_clearing_is_without_evidence_that_can_be_repeated(node: Recording) -> None:
    for answer in every(node):
        if isinstance(answer, Finding | Cleared):
            assert answer.evidence
            assert all(e.statement and e.source and e.repeat and e.value is not None for e in answer.evidence)
        if isinstance(answer, Cleared):
            assert answer.sensitivity


@quick
@given(recordings(moments=1))
def test_one_snapshot_is_never_more_than_possible(node: Recording) -> None:
    assert all(f.confidence == "possible" for f in every_finding(node))


@quick
@given(recordings())
def test_whoever_only_holds_is_never_the_culprit(node: Recording) -> None:
    for f in every_finding(node):
        if f.claim == "holds":
            assert "culprit" not in [p.role for p in f.parties]


@quick
@given(recordings())
def test_findings_fit_in_the_forms_that_carry_them(node: Recording) -> None:
    for f in every_finding(node):
        assert len(f.summary.encode()) <= 80
        assert f.reason.isalnum()
        assert f.rule in catalogue()
        assert f.remedies[0].action == "capture"
        assert all(shlex.split(r.command) for r in f.remedies if r.command is not None)


@quick
@given(recordings())
def test_a_finding_has_its_own_id(node: Recording) -> None:
    ids = [f.id for f in every_finding(node)]
    assert len(ids) == len(set(ids))


@quick
@given(recordings())
def test_the_same_recording_is_always_judged_alike(node: Recording) -> None:
    assert every(node) == every(node)


@quick
@given(recordings())
def test_a_diagnosis_of_any_recording_has_an_outcome(node: Recording) -> None:
    found = diagnose(node, list(catalogue()))
    bad = any(f.severity != "info" for f in found.findings)
    assert (found.outcome == "finding") is bad


@quick
@given(window_closed_only(), st.integers(1, 3))
def test_a_holder_of_full_send_queues_alone_is_never_the_culprit(
    held: tuple[list[SocketGroup], list[StuckSocket]], moments: int
) -> None:
    groups, stuck = held
    total = 7 * len(stuck)
    node = recording([groups] * moments, stuck=tuple(stuck), stuck_total=total, workloads=named(*PIDS), seconds=90)
    assert culprits(node) == []


@quick
@given(recordings())
def test_no_share_is_more_than_all(node: Recording) -> None:
    shares = [p.share for f in every_finding(node) for p in f.parties if isinstance(p.share, float)]
    assert all(0 <= share <= 1 for share in shares)
