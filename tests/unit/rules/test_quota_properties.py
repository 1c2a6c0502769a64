"""What holds of every answer about quotas of CPU time, whatever the node."""

from __future__ import annotations

import shlex

from hypothesis import HealthCheck, given, settings

from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Recording

from .arbitrary import Dice
from .arbitrary_quotas import quota_recordings, recording_of
from .nodes import answers, findings
from .quotas import ENTRY, RULE
from .test_redacted import assert_judged_alike

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(quota_recordings())
def test_every_node_is_answered_with_evidence_that_can_be_repeated(node: Recording) -> None:
    found = answers(node, RULE)
    assert found
    assert len(found) == 1 or all(isinstance(answer, Finding) for answer in found)
    for answer in found:
        if isinstance(answer, Finding | Cleared):
            assert answer.evidence
            assert all(e.statement and e.source and e.repeat and e.value is not None for e in answer.evidence)
            assert all(shlex.split(e.repeat, comments=True) for e in answer.evidence)


@quick
@given(quota_recordings(moments=1))
def test_one_snapshot_finds_nothing(node: Recording) -> None:
    assert findings(node, RULE) == []


@quick
@given(quota_recordings())
def test_findings_blame_nobody_and_fit_in_the_forms_that_carry_them(node: Recording) -> None:
    found = findings(node, RULE)
    assert len({f.id for f in found}) == len(found) <= ENTRY.limit("listed_cases")
    for f in found:
        assert [p.role for p in f.parties] in (["victim"], ["victim", "holder"])
        assert len(f.summary.encode()) <= 80
        assert f.title.isprintable()
        assert (f.claim, f.severity) == (ENTRY.claim, ENTRY.severity)
        assert f.shape in ENTRY.shapes
        assert f.since is not None
        assert f.since <= f.last_seen
        assert f.remedies[0].action == "capture"
        assert all(shlex.split(r.command, comments=True) for r in f.remedies if r.command is not None)


@quick
@given(quota_recordings())
def test_a_redacted_recording_is_judged_alike(node: Recording) -> None:
    assert_judged_alike(node, (RULE,))


def test_these_nodes_have_every_shape_and_confidence() -> None:
    """So that the properties above are about something."""
    missing = {*ENTRY.shapes, "likely", "proven"}
    for seed in range(3_000):
        missing -= {word for f in findings(recording_of(Dice(seed), 4), RULE) for word in (f.shape, f.confidence)}
        if not missing:
            return
    raise AssertionError(f"no node has {missing}")
