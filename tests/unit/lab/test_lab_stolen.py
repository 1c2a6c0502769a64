"""A diagnosis may say that the hypervisor took CPUs away, if it did: this reading is the lab's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab.stolen import stolen_seconds, without_thefts


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


def test_the_other_findings_of_the_rule_are_its_answer() -> None:
    other = theft(shape="softirqs-disabled")
    assert without_thefts(said(theft(), other), 0.5) == said(other)


def test_what_was_taken_is_the_eighth_number_of_all_cpus(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 800 9 10\ncpu0 1 2 3 4 5 6 7 400 9 10\n")
    assert stolen_seconds(stat) == pytest.approx(800 / os.sysconf("SC_CLK_TCK"))
