"""The diagnosis for a person: what is wrong, who, what to do; then why we know it; then what was not found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.report.case import Case, cases
from whodunnet.report.coverage import (
    closest_to_limit,
    watched,
    write_not_checked,
    write_ruled_out,
    write_run,
    write_thresholds,
)
from whodunnet.report.finding import BADGES, Frame, write_body, write_title
from whodunnet.report.layout import Sheet
from whodunnet.report.party import write_parties
from whodunnet.report.quantity import PAGE_SIZE_BYTES, count
from whodunnet.report.remedy import ordered_steps, write_steps

if TYPE_CHECKING:
    from rich.console import Console

_HANG = 13


def render_text(
    diagnosis: Diagnosis, *, verbose: bool, console: Console, page_size_bytes: int = PAGE_SIZE_BYTES
) -> None:
    """Print the whole answer; page_size_bytes is that of the node, to show pages as bytes."""
    sheet = Sheet(console)
    frame = Frame(now=diagnosis.window.end, verbose=verbose, page_size_bytes=page_size_bytes)
    if diagnosis.outcome == "healthy":
        _write_healthy(sheet, diagnosis, frame)
    elif diagnosis.outcome == "incomplete":
        _write_incomplete(sheet, diagnosis)
    _write_cases(sheet, cases(diagnosis.findings), frame, first=diagnosis.outcome == "finding")
    sheet.blank()
    if diagnosis.outcome != "incomplete":
        write_not_checked(sheet, diagnosis)
    write_ruled_out(sheet, diagnosis, frame)
    write_thresholds(sheet, diagnosis, frame)
    write_run(sheet, diagnosis)


def render_standing(lines: Sequence[str], console: Console) -> None:
    """Facts that are known before the window ends, one per line."""
    sheet = Sheet(console)
    for line in lines:
        sheet.write(line, lead=("Now", "bold"), hang=5)


def _write_cases(sheet: Sheet, all_cases: Sequence[Case], frame: Frame, first: bool) -> None:
    """first: nothing stands above them."""
    for position, case in enumerate(all_cases):
        if position or not first:
            sheet.rule()
        write_title(sheet, case.finding, frame)
        sheet.blank()
        write_parties(sheet, case.finding, frame.now, frame.verbose)
        if position == 0:
            _write_others(sheet, all_cases[1:])
        if case.finding.severity == "info" and not frame.verbose:
            sheet.write("-v shows the readings behind it", lead="", hang=_HANG)
            continue
        write_steps(sheet, ordered_steps(case.findings(), captured=position > 0))
        write_body(sheet, case, frame)


def _write_others(sheet: Sheet, others: Sequence[Case]) -> None:
    """A word ahead about further, independent faults, so that nobody stops reading at the first."""
    for case in others:
        word, style, _ = BADGES[case.finding.severity]
        sheet.write((word, style), f" {case.finding.title} (below)", lead=("Also", "bold"), hang=_HANG)


def _write_healthy(sheet: Sheet, diagnosis: Diagnosis, frame: Frame) -> None:
    text = f"No network fault found on {diagnosis.node.hostname}."
    sheet.write((text, "bold"), lead=("OK", "bold black on green"), hang=4)
    unchecked, answered = len(diagnosis.not_checked), len(diagnosis.cleared) + len(diagnosis.not_applicable)
    if unchecked > answered or (unchecked and diagnosis.window.tree is not UNSET):
        text = f"{unchecked:,} of {unchecked + answered:,} suspects could not be checked: of these it says nothing."
        sheet.write((text, "bold yellow"), lead="", hang=4)
    sheet.blank()
    sheet.write(watched(diagnosis), lead=("Watched", "bold"), hang=_HANG)
    closest = closest_to_limit(diagnosis, frame)
    if closest:
        sheet.write(closest, lead=("Fullest", "bold"), hang=_HANG)


def _write_incomplete(sheet: Sheet, diagnosis: Diagnosis) -> None:
    gaps = count(len(diagnosis.not_checked), "suspect")
    found = "No harm was found for sure, and" if diagnosis.findings else "Nothing found, but"
    text = f"{found} {gaps} could not be checked: this is not an all-clear."
    sheet.write((text, "bold"), lead=("NOT JUDGED", "bold black on yellow"), hang=12)
    sheet.blank()
    write_not_checked(sheet, diagnosis)
    sheet.write(watched(diagnosis), lead=("Watched", "bold"), hang=_HANG)
