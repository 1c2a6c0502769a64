"""What to do: keep the evidence, then what helps now, then what buys time, then what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from whodunnet.model.finding import Action, Finding, Remedy
from whodunnet.report.layout import Sheet
from whodunnet.rules.remedies import CAPTURE

STEPS: dict[Action, tuple[int, str]] = {
    "capture": (0, "First"),
    "restart-workload": (1, "Next"),
    "cordon": (1, "Next"),
    "reboot-node": (1, "Next"),
    "tune": (2, "Stop-gap"),
    "wait": (2, "Stop-gap"),
    "fix-application": (3, "For good"),
    "spread": (3, "For good"),
    "resize": (3, "For good"),
}
_HANG = 13


def ordered_steps(findings: Iterable[Finding], captured: bool = False) -> list[Remedy]:
    """Each remedy once, the evidence first unless it is captured already; within a step the rules' order is kept."""
    remedies = [remedy for finding in findings for remedy in finding.remedies]
    if captured:
        remedies = [remedy for remedy in remedies if remedy.action != "capture"]
    elif all(remedy.action != "capture" for remedy in remedies):
        remedies = [CAPTURE, *remedies]
    once: dict[str, Remedy] = {}
    for remedy in remedies:
        once.setdefault(remedy.command or remedy.do, remedy)
    return sorted(once.values(), key=lambda remedy: STEPS[remedy.action][0])


def write_steps(sheet: Sheet, steps: Sequence[Remedy]) -> None:
    """One step after the other, its command on a line of its own."""
    if not steps:
        return
    sheet.heading("What to do")
    before = ""
    for remedy in steps:
        label = STEPS[remedy.action][1]
        sheet.write(_sentence(remedy.do), lead=("" if label == before else label, "bold"), hang=_HANG)
        if remedy.command:
            sheet.command(remedy.command, _HANG)
        outcome = f"Effect: {_sentence(remedy.effect)}" if remedy.effect else ""
        if remedy.risk not in ("", "none"):
            outcome = f"{outcome} Risk: {_sentence(remedy.risk)}".strip()
        if outcome:
            sheet.write(outcome, hang=_HANG)
        before = label


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?:" else f"{text}."
