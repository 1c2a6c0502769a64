"""The whole node at its limit of open files, or near it, as a finding: since when, who has most, and who got none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from whodunnet.model.descriptors import Descriptors
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy, Severity
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.model.workload import Process, Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.descriptor_findings import REASONS, RULE, kinds
from whodunnet.rules.files_refused import Refused, refused_evidence, refused_parties, who_was_refused
from whodunnet.rules.files_spent import Spent, when_spent
from whodunnet.rules.identity import party

FILE_NR: Final = "/proc/sys/fs/file-nr"
UNWATCHED: Final = "Who was refused files was not watched: that takes BPF, a reading near the limit, and one after it."
PARTLY: Final = "Who was refused files was watched for a part of this window only."
OPEN: Final = "Files and sockets open on the whole node"
Series = Sequence[tuple[Moment, Descriptors]]


class Told(NamedTuple):
    """What is told of the node. name: of the shape. ago: seconds since it was last known to be so; None if it is so."""

    name: str
    spent: Spent | None
    refused: Refused | None
    near: bool
    ago: float | None


def compose_node(recording: Recording, series: Series, entry: Entry) -> Finding | None:
    """At its limit at any time of the window, or so it seems by whom it refused files, or near it now; None if none of
    these, or that was not read."""
    told = _told(recording, series, entry)
    if told is None:
        return None
    (at, newest), shape = series[-1], entry.shapes[told.name]
    (confidence, severity), title = _judged(told, series, entry), shape.title.format(**_words(told, at, newest))
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {told.name}",
        rule=RULE,
        reason=REASONS[told.name],
        severity=severity,
        claim=entry.claim,
        confidence=confidence,
        shape=told.name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall - timedelta(seconds=told.ago or 0.0),
        parties=(
            Party(role="victim", node=recording.node.hostname, effect=_effect(told)),
            *(refused_parties(told.refused, entry) if told.refused else ()),
            *_holder(told, newest),
        ),
        evidence=tuple(_evidence(told, at, newest)),
        would_explain=() if told.spent is None else entry.would_explain,
        remedies=(
            remedies.CAPTURE,
            *(_raise_file_max(newest, series) if told.spent is not None or told.near else ()),
            remedies.fix(shape.fix),
        ),
        explanation=(*shape.explanation, *(_unwatched(series) if told.name != "node-near" else ())),
    )


def _told(recording: Recording, series: Series, entry: Entry) -> Told | None:
    (at, newest), spent, near = series[-1], when_spent(recording), _is_near(series[-1][1], entry)
    refused = who_was_refused(recording, int(entry.limit("few_left")))
    if spent is not None:
        return Told("node-exhausted", spent, refused, near, _ago(spent, at, newest))
    if refused is not None:
        return Told("node-refused", None, refused, near, at.boot_seconds - refused.until)
    return Told("node-near", None, None, near, None) if near else None


def _judged(told: Told, series: Series, entry: Entry) -> tuple[Confidence, Severity]:
    if len(series) < 2:
        return "possible", "info"
    if told.spent is not None:
        return "proven", "critical" if told.spent.lately else "warning"
    if told.refused is not None and told.refused.times < entry.limit("min_refused") and not told.near:
        return "possible", "info"
    return "likely", "warning"


def _words(told: Told, at: Moment, newest: Descriptors) -> dict[str, str]:
    ago = f" {round(told.ago, 1):,g} s ago" if told.ago and round(told.ago, 1) else ""
    within = f"{at.boot_seconds - told.refused.since:,.1f}" if told.refused is not None else ""
    return {"ago": ago, "now": _now(newest), "within": within}


def _is_near(newest: Descriptors, entry: Entry) -> bool:
    return bool(newest.max_files) and (newest.open_files or 0) >= entry.limit("near_share") * (newest.max_files or 0)


def _unwatched(series: Series) -> tuple[str, ...]:
    """Where nobody is named, somebody may have been refused all the same. What the first reading has is of before."""
    watched = [sample.refusals_watched for _, sample in series[1:]]
    if not any(watched):
        return (UNWATCHED,)
    return () if all(watched) else (PARTLY,)


def _ago(spent: Spent, at: Moment, newest: Descriptors) -> float | None:
    """Seconds since it was last known to be at its limit; None if it is so now."""
    if newest.spent:
        return None
    # A line may be written while the last reading is taken.
    return max(at.boot_seconds - spent.last_seconds, 0.0)


def _now(newest: Descriptors) -> str:
    if newest.open_files is None or newest.max_files is None:
        return "how many are open now was not read"
    return f"{newest.open_files:,} of {newest.max_files:,} are open now"


def _effect(told: Told) -> str:
    if told.name == "node-near":
        return "few more files and sockets can be opened"
    if told.name == "node-refused":
        return "for a moment whoever has no CAP_SYS_ADMIN could open no file and no socket, as it seems"
    if told.ago is None:
        return "at its limit, whoever has no CAP_SYS_ADMIN can open no file and no socket"
    return "while it was at its limit, whoever has no CAP_SYS_ADMIN could open no file and no socket"


def _holder(told: Told, newest: Descriptors) -> list[Party]:
    """The process with most of those that are known, where that is half of them: nobody's guilt."""
    if newest.spent or (told.spent is None and told.near):
        return _most(newest, newest.open_files, "has {} descriptors open, {}")
    if told.spent is not None and told.spent.readings:
        then = told.spent.readings[-1][1]
        return _most(then, then.open_files, "had {} descriptors open then, {}")
    # Who has most of a few files has not filled a table that was full before.
    return _most(newest, newest.max_files, "has {} descriptors open, {}")


def _most(sample: Descriptors, files: int | None, effect: str) -> list[Party]:
    if not sample.fullest or not files:
        return []
    most = max(sample.fullest, key=lambda use: use.open)
    if 2 * most.open < files:
        return []
    effect = effect.format(f"{most.open:,}", kinds(most))
    return [party("holder", Workload(process=Process(pid=most.pid, comm=most.comm)), effect=effect)]


def _evidence(told: Told, at: Moment, newest: Descriptors) -> list[Evidence]:
    """First what shows it."""
    found, spent = [], told.spent
    if spent is not None and spent.readings and not newest.spent:
        found += _counted(*spent.readings[-1], f"{OPEN} when it had none left")
    found += _counted(at, newest, OPEN)
    if spent is not None and spent.logged:
        lines = Evidence(
            statement="Lines in the kernel's log that the limit was reached, in this window",
            value=len(spent.logged), unit="lines", source="kernel log", at=at.wall, boot_seconds=at.boot_seconds,
            repeat="dmesg | grep file-max",
        )  # fmt: skip
        found.insert(len(found) if spent.readings else 0, lines)
    if told.refused is not None:
        found.insert(len(found) if spent is not None else 0, refused_evidence(told.refused, at))
    return found


def _counted(at: Moment, sample: Descriptors, statement: str) -> list[Evidence]:
    """None where it was not read."""
    if sample.open_files is None or sample.max_files is None:
        return []
    return [counted_files(at, sample.open_files, sample.max_files, ">=" if sample.spent else "of", statement)]


def counted_files(at: Moment, number: int, maximum: int, comparison: str, statement: str = OPEN) -> Evidence:
    """fs.file-nr as evidence."""
    return Evidence(
        statement=statement, value=number, unit="files", limit=maximum, comparison=comparison, source=FILE_NR,
        at=at.wall, boot_seconds=at.boot_seconds, repeat=f"cat {FILE_NR}",
    )  # fmt: skip


def _raise_file_max(newest: Descriptors, series: Series) -> list[Remedy]:
    """Not where somebody has made room already, or the limit is not known."""
    maximum = newest.max_files or max((sample.max_files or 0 for _, sample in series), default=0)
    if not maximum or (newest.max_files and 2 * (newest.open_files or 0) < newest.max_files):
        return []
    tune = Remedy(
        action="tune", do="Let the node have twice as many files open", command=f"sysctl -w fs.file-max={2 * maximum}",
        effect="files and sockets can be opened again", risk="each takes about 1 KiB of memory; a leak goes on",
    )  # fmt: skip
    return [tune]
