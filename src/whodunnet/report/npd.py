"""One line for a node-problem-detector custom plugin: at most 80 bytes of clean text."""

from __future__ import annotations

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.report.quantity import count, duration

LIMIT_BYTES = 80


def render_npd(diagnosis: Diagnosis) -> str:
    """The summary of the first finding, or what was found healthy, or what was not checked."""
    return shorten_bytes(clean(_sentence(diagnosis)), LIMIT_BYTES)


def _sentence(diagnosis: Diagnosis) -> str:
    if diagnosis.outcome == "finding" and diagnosis.findings:
        return diagnosis.findings[0].summary
    if diagnosis.outcome == "incomplete":
        return f"not checked: {', '.join(answer.rule for answer in diagnosis.not_checked) or 'unknown'}"
    suspects = count(len(diagnosis.cleared), "suspect")
    gaps = f", {len(diagnosis.not_checked)} not checked" if diagnosis.not_checked else ""
    return f"no network fault found: {suspects} ruled out in {duration(diagnosis.window.seconds)}{gaps}"
