"""What became of one case on one machine: a line of JSON, and a cell of the score board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from lab.case import Case, Expected, Kind
from lab.score import Score, culprits, in_role, is_meant, naming, score, shape_and_endpoint

Result = Literal["right", "wrong", "not-scored"]
TEXT_MOST = 600
"""Characters of a complaint or a reason that are kept."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where cases ran. name: "host", or the release of a kernel in a virtual machine. kernel: as `uname -r` says."""

    name: str
    kernel: str
    cpus: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One case on one machine.

    named, to_name: how many of those who have to be named are, each in the right role. called: how many parties were
    called culprit, called_wrongly: of these those who are none. rule_right: whether the rule that is meant answered as
    it should; shape_right: and with the right shape; None where the case does not ask for any.
    extra, blamed, missing, wrong: complaints, as in lab.score.Score. why: it could not be scored.
    seconds_to_name: from the fault being there, as seen by other means, to the answer of whodunnet.
    diagnose_seconds: from calling whodunnet to its answer. cpu_seconds, peak_rss_bytes: what it says that it cost.
    runs, right_runs: with this commit.
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
    rule_right: bool | None = None
    shape_right: bool | None = None
    extra: tuple[str, ...] = ()
    blamed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    why: str = ""
    seconds_to_name: float | None = None
    diagnose_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss_bytes: int | None = None
    runs: int = 1
    right_runs: int = 0

    @property
    def complaints(self) -> tuple[str, ...]:
        return (*self.missing, *self.blamed, *self.extra, *self.wrong)


def scored(case: Case, diagnosis: Mapping[str, Any], seconds: float, **place: Any) -> Outcome:
    """place: machine, commit, at. seconds: that whodunnet took."""
    expected = case.expected()
    found = score(expected, diagnosis, case.rules)
    called = [party for finding in diagnosis["findings"] for party in culprits(finding)]
    return Outcome(
        case=case.name,
        kind=case.kind,
        result="right" if found.right else "wrong",
        right_runs=int(found.right),
        named=len(expected.culprits) + len(expected.others) - len(unnamed(expected, diagnosis)),
        to_name=len(expected.culprits) + len(expected.others),
        called=len(called),
        called_wrongly=len(called) - sum(is_allowed(party, expected) for party in called),
        rule_right=rule_right(expected, found, diagnosis),
        shape_right=shape_right(expected, diagnosis),
        seconds_to_name=round(case.age_seconds + seconds, 1) if expected.rule else None,
        diagnose_seconds=round(seconds, 1),
        cpu_seconds=diagnosis["cost"]["cpu_seconds"],
        peak_rss_bytes=diagnosis["cost"]["peak_rss_bytes"],
        **{**cut(found), **place},
    )


def not_scored(case: Case, why: str, **place: Any) -> Outcome:
    """place: machine, commit, at."""
    return Outcome(case=case.name, kind=case.kind, result="not-scored", why=why[-TEXT_MOST:], **place)


def is_allowed(party: Mapping[str, Any], expected: Expected) -> bool:
    return any(is_meant(who, party) for who in (*expected.culprits, *expected.tolerated))


def cut(found: Score) -> dict[str, Any]:
    return {word: tuple(text[:TEXT_MOST] for text in complaints) for word, complaints in vars(found).items()}


def unnamed(expected: Expected, diagnosis: Mapping[str, Any]) -> list[str]:
    """Those who have to be named and are not, or in another role."""
    culprits = [str(who) for who in expected.culprits if not naming(who, expected, diagnosis)]
    return culprits + [str(named.who) for named in expected.others if not in_role(named, diagnosis)]


def rule_right(expected: Expected, found: Score, diagnosis: Mapping[str, Any]) -> bool:
    """The rule that is meant found something; or, on a healthy node, none did."""
    if expected.rule is None:
        return not found.extra
    return any(finding["rule"] == expected.rule for finding in diagnosis["findings"])


def shape_right(expected: Expected, diagnosis: Mapping[str, Any]) -> bool | None:
    if expected.rule is None or not expected.shapes:
        return None
    findings = [finding for finding in diagnosis["findings"] if finding["rule"] == expected.rule]
    return bool(findings) and not any("shape" in text for text in shape_and_endpoint(None, expected, findings))


def merged(old: Sequence[Outcome], new: Sequence[Outcome]) -> list[Outcome]:
    """The newest of each case on each machine, in order; runs with one commit are counted together."""
    cells = {(outcome.case, outcome.machine.name): outcome for outcome in old}
    for outcome in new:
        before = cells.get(key := (outcome.case, outcome.machine.name))
        if before is not None and before.commit == outcome.commit:
            runs, right = before.runs + outcome.runs, before.right_runs + outcome.right_runs
            outcome = msgspec.structs.replace(outcome, runs=runs, right_runs=right)
        cells[key] = outcome
    return [cells[key] for key in sorted(cells)]
