"""What became of one case on one machine: a line of JSON, and a cell of the score board."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from lab.case import Case, Expected, Kind
from lab.score import (
    Json,
    Score,
    answers_of,
    culprits,
    for_other,
    in_role,
    is_meant,
    naming,
    score_of_all,
    shape_and_endpoint,
)
from lab.stage import ROOT
from lab.stolen import without_thefts
from lab.who import Who

Result = Literal["right", "wrong", "not-scored"]
TEXT_MOST = 600
"""Characters of a complaint or a reason that are kept."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where cases ran. name: "host", or the release of a kernel in a virtual machine. kernel: as `uname -r` says.

    preempt: what the command line of a virtual machine's kernel says of it; empty: nothing.
    """

    name: str
    kernel: str
    cpus: int
    preempt: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One case on one machine.

    named, to_name: how many of those who have to be named are, each in the right role. called: how many parties were
    called culprit by any rule, called_wrongly: of these those who are none, called_tolerated: who may be, but need not.
    rule_right: whether the rule that is meant answered as it should, None where it may be silent;
    shape_right: and with the right shape; None where the case does not ask for any.
    info_only: nothing that was found has a severity of warning or above, so `diagnose` ends with status 0, but for what
    the hypervisor took.
    loosened: less was asked for, as something else was the matter with the machine meanwhile.
    beside: rules the case says nothing of that had a finding of warning or above, whom they name is in `blamed`; None:
    those were not asked.
    extra, blamed, missing, wrong: complaints, as in lab.score.Score. why: it could not be scored.
    seconds_to_name: from the fault being there, as seen by other means, to the answer of whodunnet.
    diagnose_seconds: from calling whodunnet to its answer. cpu_seconds, peak_rss_bytes: what it says that it cost.
    runs, right_runs: with this commit; the worst of them is what is told. wrong_before: runs with other commits that
    were wrong. not_made_since: a later commit with which the case could not be made real.
    """

    case: str
    kind: Kind
    machine: Machine
    result: Result
    commit: str
    at: datetime
    named: int = 0
    to_name: int = 0
    called: int = 0
    called_wrongly: int = 0
    called_tolerated: int = 0
    rule_right: bool | None = None
    shape_right: bool | None = None
    extra: tuple[str, ...] = ()
    blamed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    why: str = ""
    info_only: bool = False
    loosened: bool = False
    beside: tuple[str, ...] | None = None
    seconds_to_name: float | None = None
    diagnose_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_bytes: int | None = None
    runs: int = 1
    right_runs: int = 0
    wrong_before: int = 0
    not_made_since: str = ""

    @property
    def complaints(self) -> tuple[str, ...]:
        return (*self.missing, *self.blamed, *self.extra, *self.wrong)


def scored(case: Case, expected: Expected, diagnosis: Mapping[str, Any], seconds: float, **place: Any) -> Outcome:
    """place: machine, commit, at. diagnosis: of all rules. seconds: that whodunnet took.

    Raises LookupError, TypeError or AttributeError for what is no diagnosis.
    """
    said = without_thefts(diagnosis, case.stolen_seconds)
    judged, rest = answers_of(said, case.rules), others(said, case.rules)
    found = score_of_all(expected, said, case.rules)
    own = [party for finding in judged["findings"] for party in culprits(finding)]
    by_others = [(party, for_other(finding["rule"], expected)) for finding in rest for party in culprits(finding)]
    accused = [(party, expected) for party in own] + by_others
    return Outcome(
        case=case.name,
        kind=case.kind,
        result="right" if found.right else "wrong",
        right_runs=int(found.right),
        named=whom_to_name(expected) - len(unnamed(expected, judged)),
        to_name=whom_to_name(expected),
        called=len(accused),
        called_wrongly=sum(not is_any((*as_seen.culprits, *as_seen.tolerated), party) for party, as_seen in accused),
        called_tolerated=sum(is_any(as_seen.tolerated, party) for party, as_seen in accused),
        rule_right=rule_right(expected, found, judged),
        shape_right=shape_right(expected, judged),
        info_only=found.right and expected.rule is not None and is_quiet(said),
        loosened=expected.loosened or said["findings"] != diagnosis["findings"],
        beside=tuple(sorted({finding["rule"] for finding in rest if finding["severity"] != "info"})),
        seconds_to_name=round(case.age_seconds + seconds, 1) if expected.rule else None,
        diagnose_seconds=round(seconds, 1),
        cpu_seconds=diagnosis["cost"]["cpu_seconds"],
        peak_rss_bytes=diagnosis["cost"]["peak_rss_bytes"],
        **{**cut(found), **place},
    )


def not_scored(case: Case, why: str, **place: Any) -> Outcome:
    """place: machine, commit, at."""
    return Outcome(case=case.name, kind=case.kind, result="not-scored", why=without_root(why)[:TEXT_MOST], **place)


def without_root(text: str) -> str:
    """Where this checkout is on this machine is nobody's business."""
    return text.replace(f"{ROOT}/", "")


def no_answer(case: Case, why: str, to_name: int = 0, **place: Any) -> Outcome:
    """The case was there, and whodunnet said nothing that can be read: a fault counts as one that was not named.

    to_name: as of Outcome, if it is known.
    """
    miss, right = (f"no answer: {without_root(why)[:TEXT_MOST]}",), False if case.kind == "fault" else None
    return Outcome(
        case=case.name, kind=case.kind, result="wrong", missing=miss, rule_right=right, to_name=to_name, **place
    )


def whom_to_name(expected: Expected) -> int:
    return len(expected.culprits) + len(expected.others)


def others(diagnosis: Json, rules: Sequence[str]) -> list[Json]:
    """Findings of rules that the case says nothing of."""
    return [finding for finding in diagnosis["findings"] if finding["rule"] not in rules]


def is_quiet(said: Json) -> bool:
    """Whether all findings are information, and no rule that has to answer is known to be silent."""
    return said["outcome"] != "incomplete" and all(finding["severity"] == "info" for finding in said["findings"])


def is_any(some: Iterable[Who], party: Json) -> bool:
    return any(is_meant(who, party) for who in some)


def cut(found: Score) -> dict[str, Any]:
    return {word: tuple(text[:TEXT_MOST] for text in complaints) for word, complaints in vars(found).items()}


def unnamed(expected: Expected, diagnosis: Mapping[str, Any]) -> list[str]:
    """Those who have to be named and are not, or in another role."""
    culprits = [str(who) for who in expected.culprits if not naming(who, expected, diagnosis)]
    return culprits + [str(named.who) for named in expected.others if not in_role(named, diagnosis)]


def rule_right(expected: Expected, found: Score, diagnosis: Mapping[str, Any]) -> bool | None:
    """The rule that is meant found something; or, on a healthy node, none did. None: it may be silent or not."""
    if expected.rule is None:
        return None if expected.also else not found.extra
    return any(finding["rule"] == expected.rule for finding in diagnosis["findings"])


def shape_right(expected: Expected, diagnosis: Mapping[str, Any]) -> bool | None:
    if expected.rule is None or not expected.shapes:
        return None
    rules = {expected.rule} if expected.rule != "tcp-memory" else {*expected.also}  # that one has no shape of its own
    findings = [finding for finding in diagnosis["findings"] if finding["rule"] in rules]
    return bool(findings) and not any("shape" in text for text in shape_and_endpoint(None, expected, findings))


def badness(outcome: Outcome) -> tuple[bool, int, int, int]:
    """Whom it blames weighs most."""
    missed = outcome.to_name - outcome.named
    return outcome.result == "wrong", len(outcome.blamed), missed, len(outcome.complaints)


def merged(old: Sequence[Outcome], new: Sequence[Outcome]) -> list[Outcome]:
    """The newest of each case on each machine, in order. What could not be scored takes no score away, but is told."""
    cells = {(outcome.case, outcome.machine.name): outcome for outcome in old}
    for outcome in new:
        key = outcome.case, outcome.machine.name
        cells[key] = after(cells[key], outcome) if key in cells else outcome
    return [cells[key] for key in sorted(cells)]


def after(before: Outcome, outcome: Outcome) -> Outcome:
    """Of runs with one commit the worst, and how many were right; of others how many were wrong."""
    if before.result == "not-scored":
        return outcome
    if outcome.result == "not-scored":
        return msgspec.structs.replace(before, not_made_since=outcome.commit)
    if before.commit != outcome.commit:
        wrong = before.wrong_before + before.runs - before.right_runs
        return msgspec.structs.replace(outcome, wrong_before=wrong)
    runs, right = before.runs + outcome.runs, before.right_runs + outcome.right_runs
    worst = max(outcome, before, key=badness)
    return msgspec.structs.replace(worst, runs=runs, right_runs=right, wrong_before=before.wrong_before)
