"""One line for a node-problem-detector custom plugin: at most 80 bytes of clean text."""

from __future__ import annotations

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.report.quantity import count, duration
from whodunnet.rules.catalogue import catalogue

LIMIT_BYTES = 80


def render_npd(diagnosis: Diagnosis, is_finding: bool | None = None) -> str:
    """The summary of the first finding, or what was found healthy, or what was not checked.

    is_finding: what the exit status says; None takes it from the outcome.
    """
    told = diagnosis.outcome == "finding" if is_finding is None else is_finding
    return shorten_bytes(clean(_sentence(diagnosis, told)), LIMIT_BYTES)


def _sentence(diagnosis: Diagnosis, told: bool) -> str:
    if told and diagnosis.findings:
        return diagnosis.findings[0].summary
    if diagnosis.outcome == "incomplete":
        return f"not checked: {_not_checked(diagnosis) or 'unknown'}"
    suspects = count(len(diagnosis.cleared), "suspect")
    if diagnosis.not_checked:
        return f"no network fault found, but not checked: {_not_checked(diagnosis)}"
    return f"no network fault found: {suspects} ruled out in {duration(diagnosis.window.seconds)}"


def _not_checked(diagnosis: Diagnosis) -> str:
    """Those first that could have said the worst: there is room for few."""
    worst = {rule for rule, entry in catalogue().items() if entry.severity == "critical"}
    return ", ".join(sorted((answer.rule for answer in diagnosis.not_checked), key=lambda rule: rule not in worst))
