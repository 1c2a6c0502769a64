"""One finding on the sheet: title, parties, evidence, plain words; its consequences indented below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from whodunnet.model.finding import Evidence, Finding, Party, Severity
from whodunnet.report.case import Case
from whodunnet.report.layout import Sheet
from whodunnet.report.party import write_parties
from whodunnet.report.quantity import clock, duration, reading, utc

BADGES: dict[Severity, tuple[str, str, str]] = {
    "critical": ("CRITICAL", "bold white on red", "Traffic is being hurt now."),
    "warning": ("WARNING", "bold black on yellow", "It does harm already, or will if it goes on."),
    "info": ("INFO", "bold black on cyan", "Worth knowing; no harm seen."),
}
BADGE_HANG = 10


@dataclass(frozen=True)
class Frame:
    """What all parts of one report share."""

    now: datetime
    verbose: bool
    page_size_bytes: int


def write_title(sheet: Sheet, finding: Finding, frame: Frame) -> None:
    """What is wrong, how bad it is, how sure that is, since when."""
    word, style, meaning = BADGES[finding.severity]
    sheet.write((finding.title, "bold"), lead=(word, style), hang=BADGE_HANG)
    claim = f'Claim "{finding.claim}": {finding.confidence}.'
    sheet.write(f"{meaning} {claim} {_since(finding, frame.now)}", hang=BADGE_HANG)


def write_evidence(sheet: Sheet, evidence: Iterable[Evidence], frame: Frame) -> None:
    """Each reading with its limit, where it is from, and the command that repeats it, said once in a row."""
    said: tuple[str, str] | None = None
    for item in evidence:
        value = reading(item, frame.page_size_bytes)
        sheet.write(item.statement, ": ", (value, "bold"), lead="-", hang=2)
        if said == (item.source, item.repeat) and not frame.verbose:
            continue
        said = (item.source, item.repeat)
        boot = f", {item.boot_seconds:,.3f} s after boot" if frame.verbose and item.boot_seconds is not None else ""
        origin = f"from {item.source}, {clock(item.at, frame.now)}{boot}; again by hand:"
        sheet.indented(2).write((origin, "dim"))
        sheet.command(item.repeat, 4)


def write_body(sheet: Sheet, case: Case, frame: Frame) -> None:
    """Evidence, plain words and consequences of a case whose title and parties are printed."""
    finding = case.finding
    sheet.heading("Evidence")
    write_evidence(sheet.indented(2), finding.evidence, frame)
    if finding.explanation:
        sheet.heading("In plain words")
        sheet.indented(2).write(" ".join(finding.explanation))
    if case.consequences or case.shared:
        sheet.heading("What follows from it")
        for consequence in case.consequences:
            _write_consequence(sheet.indented(2), consequence, finding.parties, frame)
        _write_shared(sheet.indented(2), case)
    _write_conjecture(sheet, case)


def _write_consequence(sheet: Sheet, case: Case, known: Sequence[Party], frame: Frame) -> None:
    finding = case.finding
    write_title(sheet, finding, frame)
    inner = sheet.indented(BADGE_HANG)
    if case.others:
        titles = "; ".join(f"{other.title} ({other.rule})" for other in case.others)
        inner.write(f"Another possible cause: {titles}. What speaks for each is among the readings.")
    write_parties(inner, finding, frame.now, frame.verbose, known)
    write_evidence(inner, finding.evidence, frame)
    if finding.explanation:
        inner.write(" ".join(finding.explanation))
    for consequence in case.consequences:
        _write_consequence(sheet.indented(2), consequence, (*known, *finding.parties), frame)
    _write_shared(sheet.indented(2), case)


def _write_shared(sheet: Sheet, case: Case) -> None:
    """What has another possible cause, under which it is shown."""
    for finding in case.shared:
        sheet.write((finding.title, "bold"), ": possibly; it is shown under another possible cause", lead="-", hang=2)


def _write_conjecture(sheet: Sheet, case: Case) -> None:
    """What the rule says it can lead to, without what was really found to follow."""
    found = {finding.rule for finding in (*case.findings(), *case.shared)}
    names = dict.fromkeys(name.partition(":")[0] for name in case.finding.would_explain)
    rest = [name for name in names if name not in found]
    if rest:
        sheet.blank()
        sheet.write(f"It may also explain what stands beside it: {', '.join(rest)}.")


def _since(finding: Finding, now: datetime) -> str:
    if finding.since is None:
        return "Since when is not known."
    age = (utc(now) - utc(finding.since)).total_seconds()
    ago = f", {duration(age)} ago" if age >= 1 else ""
    return f"Since {clock(finding.since, now)}{ago}."
