"""What was ruled out, what could not be checked, what the run saw and what it cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from whodunnet.model.diagnosis import Diagnosis, Thresholds
from whodunnet.model.finding import Cleared, Evidence
from whodunnet.model.text import clean
from whodunnet.report.finding import Frame, write_evidence
from whodunnet.report.layout import Sheet
from whodunnet.report.quantity import clock, count, duration, percent, reading, size

HANG = 13
_CHANGED_SHOWN = 3


def write_ruled_out(sheet: Sheet, diagnosis: Diagnosis, frame: Frame) -> None:
    """One line; with verbose every suspect with its reading and what the window could have seen."""
    cleared, impossible = diagnosis.cleared, diagnosis.not_applicable
    parts = [count(len(cleared), "suspect")] if cleared else ["nothing"]
    parts += [f"{len(impossible)} cannot exist here"] if impossible else []
    hint = "" if frame.verbose else ", -v shows each reading and what could have been missed"
    sheet.write("; ".join(parts) + hint, lead=("Ruled out", "bold"), hang=HANG)
    if frame.verbose:
        for suspect in cleared:
            _write_cleared(sheet.indented(2), suspect, frame)
        for absent in impossible:
            sheet.indented(2).write((absent.rule, "bold"), f": cannot exist here: {absent.reason}")


def _write_cleared(sheet: Sheet, cleared: Cleared, frame: Frame) -> None:
    sheet.write((cleared.rule, "bold"), f": this would have shown: {cleared.sensitivity}")
    write_evidence(sheet.indented(2), cleared.evidence, frame)


def write_not_checked(sheet: Sheet, diagnosis: Diagnosis) -> None:
    """Suspects grouped by the reason, and the capability that would win most of them."""
    gaps = diagnosis.not_checked
    if not gaps:
        return
    total = f"{count(len(gaps), 'suspect')}, neither confirmed nor ruled out"
    sheet.write(total, lead=("Not checked", "bold yellow"), hang=HANG)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for gap in gaps:
        reasons[gap.reason].append(gap.rule)
    for reason, rules in reasons.items():
        sheet.indented(HANG).write((", ".join(rules), "bold"), f": {reason}", lead="-", hang=2)
    missing = Counter(gap.missing_capability for gap in gaps if gap.missing_capability)
    for capability, gain in missing.most_common(1):
        gain_text = f" would add most ({gain} of {len(gaps)}): run as root, or grant it."
        sheet.indented(HANG).write((capability, "bold"), gain_text)


def write_thresholds(sheet: Sheet, diagnosis: Diagnosis, frame: Frame) -> None:
    """What a configuration changed, and by which file; nothing where all numbers are the catalogue's."""
    thresholds = diagnosis.thresholds
    if not thresholds.changed:
        return
    shown = thresholds.changed if frame.verbose else thresholds.changed[:_CHANGED_SHOWN]
    left_out = len(thresholds.changed) - len(shown)
    texts = [_changed(thresholds, name) for name in shown] + ([f"{left_out} more, -v lists them"] if left_out else [])
    total = count(len(thresholds.changed), "threshold")
    text = f"{total}, by {clean(thresholds.source or 'a configuration')}: {'; '.join(texts)}"
    sheet.write(text, lead=("Changed", "bold"), hang=HANG)


def _changed(thresholds: Thresholds, name: str) -> str:
    rule, _, threshold = name.partition(".")
    limit = thresholds.rules[rule][threshold]
    return f"{name} is {limit.value:,g} instead of {limit.default or 0:,g} {limit.unit}"


def write_run(sheet: Sheet, diagnosis: Diagnosis) -> None:
    """The node, the window, the cost in one line, and what was lost or has no known owner."""
    node, cost = diagnosis.node, diagnosis.cost
    machine = ", a virtual machine" if node.virtual_machine else ""
    sheet.write(f"{node.hostname}, kernel {node.kernel}{machine}", lead=("Node", "bold"), hang=HANG)
    if diagnosis.outcome == "finding":
        sheet.write(watched(diagnosis), lead=("Watched", "bold"), hang=HANG)
    price = f"{duration(cost.cpu_seconds)} of CPU in {duration(cost.wall_seconds)}, {size(cost.peak_rss_bytes)}"
    slowest = max(cost.collectors.items(), key=lambda item: item[1].wall_seconds, default=None)
    slow = f", slowest collector {slowest[0]} {duration(slowest[1].wall_seconds)}" if slowest else ""
    sheet.write(price + slow, lead=("Run cost", "bold"), hang=HANG)
    for position, limit in enumerate(diagnosis.limits):
        sheet.write(limit[:1].upper() + limit[1:], lead=("" if position else "Limited", "bold"), hang=HANG)
    gaps = "; ".join(_gaps(diagnosis))
    if gaps:
        sheet.write(gaps, lead=("Gaps", "bold"), hang=HANG)


def watched(diagnosis: Diagnosis) -> str:
    """ "5 s in 4 snapshots, 2026-11-21 01:49:49 UTC to 01:49:54 UTC"."""
    window = diagnosis.window
    if isinstance(window.tree, str):
        return f"the copied files in {clean(window.tree)}, of {clock(window.end)}; a change over time cannot be seen"
    if window.snapshots == 1:
        return f"one snapshot, {clock(window.end)}; a change over time cannot be seen in it"
    span = f"{clock(window.start)} to {clock(window.end, window.start)}"
    return f"{duration(window.seconds)} in {count(window.snapshots, 'snapshot')}, {span}"


def closest_to_limit(diagnosis: Diagnosis, frame: Frame) -> str | None:
    """The cleared reading with the least room below its limit."""
    candidates = [(e, cleared.rule) for cleared in diagnosis.cleared for e in cleared.evidence]
    fullest = max(candidates, key=lambda candidate: _fill(candidate[0]), default=None)
    if fullest is None or _fill(fullest[0]) <= 0:
        return None
    evidence, rule = fullest
    return f"{rule}: {evidence.statement}: {reading(evidence, frame.page_size_bytes)}"


def _fill(evidence: Evidence) -> float:
    """Value over limit where the test was "below the limit", else 0."""
    value, limit = evidence.value, evidence.limit
    if evidence.comparison not in ("<", "<=") or isinstance(value, str) or value is None or not limit:
        return 0.0
    return value / limit


def _gaps(diagnosis: Diagnosis) -> Iterator[str]:
    for name, cost in diagnosis.cost.collectors.items():
        parts = [f"{cost.lost:,} not read"] if cost.lost else []
        parts += ["cut short"] if cost.truncated else []
        share = cost.attributed_share
        parts += [f"owner known for {percent(share)}"] if share is not None and share < 1 else []
        if parts:
            yield f"{name}: {', '.join(parts)}"
