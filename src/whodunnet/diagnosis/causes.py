"""Consequences go under their cause; causes are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET, structs

from whodunnet.model.finding import SEVERITIES, Evidence, Finding

CAUSE_SHARE: Final = 0.5
"""A finding is put under a cause whose party ties up at least this share of what the finding is about."""


def link(findings: Sequence[Finding]) -> list[Finding]:
    """Fill `caused_by` and turn `would_explain` (rules) into ids of findings that are there.

    A rule's word that it would explain another is a conjecture; the link needs the share of the party as evidence.
    """
    by_rule: dict[str, list[Finding]] = {}
    for f in findings:
        by_rule.setdefault(f.rule, []).append(f)
    causes: dict[str, list[str]] = {}
    for cause in findings:
        for rule in cause.would_explain:
            for consequence in by_rule.get(rule, ()):
                if cause.confidence != "possible" and _share(cause) >= CAUSE_SHARE:
                    causes.setdefault(consequence.id, []).append(cause.id)
    by_id = {f.id: f for f in findings}
    return [
        structs.replace(
            f,
            caused_by=tuple(causes.get(f.id, ())),
            evidence=(*f.evidence, *(_link_evidence(by_id[cause]) for cause in causes.get(f.id, ()))),
            would_explain=tuple(c.id for rule in f.would_explain for c in by_rule.get(rule, ())),
        )
        for f in findings
    ]


def _link_evidence(cause: Finding) -> Evidence:
    """Why a finding stands under its cause: the share that the cause ties up."""
    return Evidence(
        statement=f"Share of all TCP memory that is tied up by its cause, {cause.id}",
        value=round(_share(cause), 3),
        unit="share",
        limit=CAUSE_SHARE,
        comparison=">=",
        source="sockets collector",
        at=cause.last_seen,
        repeat="whodunnet sockets --by process",
    )


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first; at the same severity a cause before what it causes, the surer before the less sure, then size."""
    sureness = ("proven", "likely", "possible")
    return sorted(
        findings,
        key=lambda f: (SEVERITIES.index(f.severity), bool(f.caused_by), sureness.index(f.confidence), -_share(f)),
    )


def _share(f: Finding) -> float:
    shares = [p.share for p in f.parties if p.role in ("culprit", "reader") and p.share is not UNSET]
    return max((s for s in shares if isinstance(s, float)), default=0.0)
