"""The answer to why for a person: what was asked, what explains it, what was ruled out, where to look next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.text import clean
from whodunnet.report.coverage import watched, write_run
from whodunnet.report.finding import BADGES, Frame, write_evidence, write_title
from whodunnet.report.identity import workload_name
from whodunnet.report.json import encode
from whodunnet.report.layout import Sheet
from whodunnet.report.party import write_parties
from whodunnet.report.quantity import PAGE_SIZE_BYTES, reading
from whodunnet.report.remedy import ordered_steps, write_steps
from whodunnet.why.document import Answer, Why
from whodunnet.why.flow import Place
from whodunnet.why.match import Explanation

if TYPE_CHECKING:
    from rich.console import Console

HANG = 13
HEADS: dict[Answer, tuple[str, str, str]] = {
    "explained": ("EXPLAINED", "bold white on red", "This was found on this node, and it makes such errors:"),
    "perhaps": ("PERHAPS", "bold black on yellow", "This was found on this node, and may be behind it:"),
    "not-explained": ("NOT HERE", "bold black on green", "Nothing found on this node explains it."),
    "not-judged": ("NOT JUDGED", "bold black on yellow", "Nothing found explains it, and this is no all-clear."),
}


def render_why_json(why: Why) -> str:
    """One document, schema whodunnet/why/v1."""
    return encode(why)


def render_why(why: Why, *, verbose: bool, console: Console, page_size_bytes: int = PAGE_SIZE_BYTES) -> None:
    """Print the whole answer."""
    sheet, diagnosis = Sheet(console), why.diagnosis
    frame = Frame(now=diagnosis.window.end, verbose=verbose, page_size_bytes=page_size_bytes)
    _write_question(sheet, why)
    sheet.blank()
    word, style, sentence = HEADS[why.answer]
    if why.message is None and why.answer == "explained":
        sentence = "This was found on this node, and concerns it:"
    sheet.write((sentence, "bold"), lead=(word, style), hang=HANG)
    if why.no_rule is True:
        sheet.write("No rule judges such an error.", hang=HANG)
    findings = {f.id: f for f in diagnosis.findings}
    for sign in why.signs:
        sheet.write(f"{sign.statement}: ", (reading(sign, page_size_bytes), "bold"), hang=HANG)
    for explanation in why.explained_by:
        _write_explanation(sheet, explanation, findings[explanation.finding], frame)
    if why.explained_by:
        write_steps(sheet, ordered_steps(findings[e.finding] for e in why.explained_by))
    sheet.blank()
    _write_seen(sheet, why, frame)
    _write_ruled_out(sheet, why, frame)
    _write_others(sheet, why, findings)
    _write_listed(sheet, "Not seen", why.not_seen)
    _write_next(sheet, why)
    sheet.write(watched(diagnosis), lead=("Watched", "bold"), hang=HANG)
    write_run(sheet, _without_window(diagnosis))


def _write_question(sheet: Sheet, why: Why) -> None:
    if why.message is not None:
        sheet.write(why.message.text, lead=("Asked", "bold"), hang=HANG)
    else:
        asked = [f"pod {clean(str(why.pod))}"] if why.pod is not None else []
        asked += [clean(str(why.endpoint))] if why.endpoint is not None else []
        sheet.write(" and ".join(asked), lead=("Asked", "bold"), hang=HANG)
    by = f" (as {_writer(why.message.product)} writes it)" if why.message is not None else ""
    sheet.write(f"{why.means}{by}", lead=("Means", "bold"), hang=HANG)
    if why.message is not None and why.message.name is not None:
        sheet.write(clean(why.message.name), lead=("Name", "bold"), hang=HANG)
    for title, place in (("From", why.source), ("To", why.destination)):
        if place is not None:
            sheet.write(_place(place), lead=(title, "bold"), hang=HANG)
    if why.message is not None and why.pod is not None:
        sheet.write(clean(str(why.pod)), lead=("Pod", "bold"), hang=HANG)


def _writer(product: str) -> str:
    return {"C library": "the C library", "kernel": "the kernel", "database": "a client of a database"}.get(
        product, product
    )


def _place(place: Place) -> str:
    """ "10.0.0.1:80, not on this node"."""
    name = clean(str(place.side))
    if place.workload is not None:
        return f"{name}, here: {workload_name(place.workload)}"
    if place.here is None:
        return name
    return f"{name}, {'here' if place.here else 'not on this node'}"


def _write_explanation(sheet: Sheet, explanation: Explanation, finding: Finding, frame: Frame) -> None:
    sheet.blank()
    write_title(sheet, finding, frame)
    sheet.write(f"{explanation.because}.", lead=("Because", "bold"), hang=HANG)
    write_parties(sheet, finding, frame.now, frame.verbose)
    write_evidence(sheet.indented(2), finding.evidence, frame)
    if finding.explanation:
        sheet.indented(2).write(" ".join(finding.explanation))


def _write_seen(sheet: Sheet, why: Why, frame: Frame) -> None:
    """Of this flow, within the window."""
    for position, item in enumerate(why.seen):
        value = reading(item, frame.page_size_bytes)
        lead = ("Seen of it", "bold") if position == 0 else ""
        sheet.write(f"{item.statement}: ", (value, "bold"), lead=lead, hang=HANG)


def _write_ruled_out(sheet: Sheet, why: Why, frame: Frame) -> None:
    """Rules that could have made it, with the first reading of each; with verbose all, and what could be missed."""
    cleared = {a.rule: a for a in why.diagnosis.cleared}
    absent = {a.rule: a.reason for a in why.diagnosis.not_applicable}
    for position, rule in enumerate(why.ruled_out):
        lead = ("Ruled out", "bold") if position == 0 else ""
        said = _reading(cleared[rule], frame) if rule in cleared else f"cannot exist here: {absent[rule]}"
        sheet.write((rule, "bold"), f": {said}", lead=lead, hang=HANG)
        if frame.verbose and rule in cleared:
            inner = sheet.indented(HANG)
            inner.write(f"this would have shown: {cleared[rule].sensitivity}")
            write_evidence(inner, cleared[rule].evidence, frame)
    reasons = {a.rule: a.reason for a in why.diagnosis.not_checked}
    for position, rule in enumerate(why.not_checked):
        lead = ("Not checked", "bold yellow") if position == 0 else ""
        sheet.write((rule, "bold"), f": {reasons[rule]}", lead=lead, hang=HANG)


def _reading(cleared: Cleared, frame: Frame) -> str:
    if not cleared.evidence:
        return cleared.sensitivity
    first = cleared.evidence[0]
    return f"{first.statement}: {reading(first, frame.page_size_bytes)}"


def _write_others(sheet: Sheet, why: Why, findings: dict[str, Finding]) -> None:
    """Findings that do not explain it, one line each."""
    titles = (("Elsewhere", why.elsewhere), ("Also found", why.beside))
    for title, ids in titles:
        for position, finding in enumerate(findings[i] for i in ids):
            word, style, _ = BADGES[finding.severity]
            lead = (title, "bold") if position == 0 else ""
            sheet.write((word, style), f" {finding.title} ({finding.rule})", lead=lead, hang=HANG)


def _write_listed(sheet: Sheet, title: str, sentences: Sequence[str]) -> None:
    for position, sentence in enumerate(sentences):
        sheet.write(sentence, lead=(title, "bold") if position == 0 else "", hang=HANG)


def _write_next(sheet: Sheet, why: Why) -> None:
    for position, step in enumerate(why.next):
        sheet.write(f"{step.do}:", lead=("Look next", "bold") if position == 0 else "", hang=HANG)
        sheet.command(step.command, HANG)


def _without_window(diagnosis: Diagnosis) -> Diagnosis:
    """The same for write_run, which tells the window of findings alone."""
    from msgspec.structs import replace

    return replace(diagnosis, outcome="healthy")
