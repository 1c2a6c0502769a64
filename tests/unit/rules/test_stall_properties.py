"""What holds of every answer about stalls, whatever was seen."""

from __future__ import annotations

import shlex

from hypothesis import HealthCheck, given, settings
from msgspec import UNSET

from whodunnet.model.finding import Cleared, Finding, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.stall_window import stall_window
from whodunnet.model.stalls import Task
from whodunnet.model.workload import Process
from whodunnet.rules.rule import judge
from whodunnet.rules.stall_cases import NAMING, judge_all

from .arbitrary_stalls import stalled_recordings
from .test_redacted import assert_judged_alike

quick = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULE = "rx-stall"


@quick
@given(stalled_recordings())
def test_every_recording_is_answered_with_evidence_that_can_be_repeated(node: Recording) -> None:
    given_answers = judge(RULE, node)
    assert given_answers
    assert len(given_answers) == 1 or all(isinstance(a, Finding) for a in given_answers)
    for answer in given_answers:
        assert answer.rule == RULE
        if isinstance(answer, Finding | Cleared):
            assert all(e.statement.isprintable() and e.repeat and e.value is not None for e in answer.evidence)
            assert answer.evidence
        if isinstance(answer, Finding):
            assert len(answer.summary.encode()) <= 80
            assert all(shlex.split(r.command) for r in answer.remedies if r.command is not None)
            assert all(0 <= p.share <= 1 for p in answer.parties if isinstance(p.share, float))
    assert judge(RULE, node) == given_answers


@quick
@given(stalled_recordings())
def test_a_redacted_recording_is_judged_alike(node: Recording) -> None:
    assert_judged_alike(node, [RULE])


@quick
@given(stalled_recordings(moments=1))
def test_one_reading_is_never_judged(node: Recording) -> None:
    assert all(isinstance(a, NotChecked) for a in judge(RULE, node))


@quick
@given(stalled_recordings())
def test_findings_have_ids_of_their_own_and_possible_ones_blame_nobody(node: Recording) -> None:
    found = [a for a in judge(RULE, node) if isinstance(a, Finding)]
    assert len({f.id for f in found}) == len(found)
    for f in found:
        roles = [p.role for p in f.parties]
        assert "culprit" not in roles or (f.confidence != "possible" and f.shape in NAMING)
        assert f.severity == "info" or f.confidence != "possible"
        assert f.severity != "critical" or f.shape not in ("steal", "many-holders", "irqs-disabled")


@quick
@given(stalled_recordings())
def test_whoever_is_blamed_was_met_on_the_cpu_itself(node: Recording) -> None:
    """Not below a softirq, and not for taking packets or for being idle."""
    window = stall_window(node)
    for one in judge_all(window) if window is not None else ():
        if one.task is None:
            continue
        assert one.task.duty is None
        stall = one.stall
        met = {h.task for h in stall.holders if h.softirq is None} | {stall.end.task}
        assert one.task in met
        assert all(h.task == one.task for h in one.holders)
        if stall.kind == "long":
            assert one.shape not in NAMING


@quick
@given(stalled_recordings())
def test_every_culprit_has_the_name_it_was_met_by(node: Recording) -> None:
    window = stall_window(node)
    comms = {task.comm for seen in window.stalls for task in tasks_of(seen.stall)} if window is not None else set()
    known = {w.process.comm for seen in (window.stalls if window else ()) if seen.workloads is not None
             for w in seen.workloads.by_pid.values() if w.process is not None}  # fmt: skip
    for f in judge(RULE, node):
        for p in f.parties if isinstance(f, Finding) else ():
            if isinstance(p.process, Process):
                assert p.process is not UNSET
                assert p.process.comm in comms | known


def tasks_of(stall: object) -> list[Task]:
    return [stall.end.task, *(h.task for h in stall.holders)]  # type: ignore[attr-defined]
