"""What holds of every answer of every rule, whatever the node."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from whodunnet.model.finding import Cleared, Evidence, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .arbitrary import Dice


def findings_of(rules: Sequence[str], node: Recording) -> list[Finding]:
    return [a for rule in rules for a in judge(rule, node) if isinstance(a, Finding)]


def assert_whole(rules: Sequence[str], node: Recording) -> None:
    """Findings or one other answer, each with evidence that can be repeated, in the forms that carry them."""
    for rule in rules:
        answers = judge(rule, node)
        found = [a for a in answers if isinstance(a, Finding)]
        assert {a.rule for a in answers} == {rule}
        assert len(answers) == max(len(found), 1)
        assert len({f.id for f in found}) == len(found)
        for answer in answers:
            if isinstance(answer, Finding | Cleared):
                assert_evidence(answer.evidence)
        for finding in found:
            assert_finding(finding)


def assert_evidence(evidence: Sequence[Evidence]) -> None:
    assert evidence
    for e in evidence:
        assert e.statement
        assert e.source
        assert e.value is not None
        assert shlex.split(e.repeat, comments=True)


def assert_finding(f: Finding) -> None:
    entry = catalogue()[f.rule]
    assert f.shape in entry.shapes
    assert f.reason.isalnum()
    assert f.parties
    assert f.claim != "holds" or all(p.role != "culprit" for p in f.parties)
    assert "{" not in f.title.replace("{who}", "")  # a process or device may be called so
    assert len(f.summary.encode()) <= 80
    assert all(shlex.split(r.command, comments=True) for r in f.remedies if r.command)


def assert_every_shape(rules: Sequence[str], recording_of: Callable[[Dice], Recording]) -> None:
    """So that properties of such nodes are about something."""
    missing = {(rule, shape) for rule in rules for shape in catalogue()[rule].shapes}
    for seed in range(3_000):
        missing -= {(f.rule, f.shape) for f in findings_of(rules, recording_of(Dice(seed)))}
        if not missing:
            return
    raise AssertionError(f"no node has {missing}")
