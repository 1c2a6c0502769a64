"""A diagnosis may say that the hypervisor took CPUs away, if it did: this reading is the lab's own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.case import Case, Expected
from lab.look import Sight
from lab.run import run
from lab.stolen import TICK_SECONDS, is_theft, stolen_seconds, without_thefts


class Healthy(Case):
    """Nothing is the matter."""

    kind = "healthy"
    age_seconds = 0
    ready_within_seconds = 0

    def start(self) -> None:
        pass

    def look(self) -> Sight:
        return Sight(True, "nothing")

    def expected(self) -> Expected:
        return Expected(rule=None)


def theft(seconds: float = 0.5, **fields: Any) -> dict[str, Any]:
    told = {"statement": "Time that the hypervisor took from these CPUs, in the readings", "value": seconds}
    waited = {"statement": "Longest wait", "value": 0.4}
    return {"rule": "rx-stall", "shape": "steal", "parties": [], "evidence": [waited, told]} | fields


def said(*findings: dict[str, Any]) -> dict[str, Any]:
    return {"findings": list(findings), "cleared": [{"rule": "dns"}]}


def test_what_was_taken_is_no_finding_of_a_case() -> None:
    assert without_thefts(said(theft()), 0.5) == {"findings": [], "cleared": [{"rule": "dns"}, {"rule": "rx-stall"}]}


@pytest.mark.parametrize(
    "finding",
    [
        theft(0.6),
        theft(shape="softirq-hog"),
        theft(rule="cpu-pressure"),
        theft(parties=[{"role": "culprit"}]),
        theft(evidence=[]),
    ],
)
def test_anything_else_is(finding: dict[str, Any]) -> None:
    assert without_thefts(said(finding), 0.5) == said(finding)


@pytest.mark.parametrize(("taken", "tolerated"), [(0.0, False), (TICK_SECONDS, True)])
def test_where_nothing_was_taken_no_tick_is_either(taken: float, tolerated: bool) -> None:
    assert is_theft(theft(2 * TICK_SECONDS), taken) is tolerated


@pytest.mark.parametrize(("told", "tolerated"), [(0.55, True), (0.57, True), (0.58, False)])
def test_each_reading_is_rounded_to_a_tick(told: float, tolerated: bool) -> None:
    """A tenth more than our own reading, and two ticks of 10 ms."""
    assert is_theft(theft(told), 0.5) is tolerated


def test_the_other_findings_of_the_rule_are_its_answer() -> None:
    other = theft(shape="softirqs-disabled")
    assert without_thefts(said(theft(), other), 0.5) == said(other)


def test_what_was_taken_is_the_eighth_number_of_all_cpus(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 800 9 10\ncpu0 1 2 3 4 5 6 7 400 9 10\n")
    assert stolen_seconds(stat) == pytest.approx(800 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize(("taken", "right"), [(0.5, True), (0.0, False)])
def test_it_is_shown_all_the_same_and_only_the_judge_sets_it_aside(
    monkeypatch: pytest.MonkeyPatch, taken: float, right: bool
) -> None:
    readings = iter((7.0, 7.0 + taken))
    monkeypatch.setattr("lab.run.stolen_seconds", lambda: next(readings))
    answer = said(theft(id="rx-stall:1", title="taken", severity="warning", claim="is-late")) | {
        "window": {"from": "2026-01-02T03:04:05Z", "to": "2026-01-02T03:04:10Z"},
        "cleared": [{"rule": "socket-leak"}, {"rule": "tcp-memory"}],
    }
    diagnosis, score = run(Healthy(), [sys.executable, "-c", f"print({json.dumps(json.dumps(answer))})"])
    assert [finding["rule"] for finding in diagnosis["findings"]] == ["rx-stall"]
    assert score.right is right
