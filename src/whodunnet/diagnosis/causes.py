"""Consequences go under their cause; causes are ranked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import structs

from whodunnet.diagnosis.links import Link, link_of
from whodunnet.diagnosis.ties import evidence_of, is_elsewhere, largest_share
from whodunnet.model.finding import SEVERITIES, Confidence, Evidence, Finding
from whodunnet.rules.catalogue import catalogue

ZOMBIES: Final = "zombie-cgroups"
"""Alone worth knowing; as the cause of a fault as grave as that."""
Causes = defaultdict[str, list[tuple[Finding, Evidence]]]
"""By the id of the consequence."""
SURENESS: Final[tuple[Confidence, ...]] = ("proven", "likely", "possible")


def link(findings: Sequence[Finding]) -> list[Finding]:
    """Fill `caused_by` and turn `would_explain` (rules) into ids of findings that are there.

    A rule's word that it would explain another is a conjecture; the link needs evidence of its own. Of several causes
    each is named with what speaks for it, the one for which most speaks first; where one of them causes another, only
    the nearest, under which the consequence stands.
    """
    causes: Causes = defaultdict(list)
    explained: defaultdict[str, list[str]] = defaultdict(list)
    for cause, consequence, how in _pairs(findings):
        if is_elsewhere(how.tie, cause, consequence):
            continue
        explained[cause.id].append(consequence.id)
        evidence = evidence_of(how.tie, cause, consequence)
        if evidence is not None:
            causes[consequence.id].append((cause, evidence))
    nearest = {f.id: [one for one in causes[f.id] if not _comes_before(one[0], causes[f.id], causes)] for f in findings}
    linked = [_linked(f, sorted(nearest[f.id], key=lambda one: _weight(one[0], f)), explained[f.id]) for f in findings]
    return [_raised(f, [c for c in linked if f.id in c.caused_by]) for f in linked]


def _pairs(findings: Sequence[Finding]) -> Iterator[tuple[Finding, Finding, Link]]:
    """Causes and consequences as their rules say, unless their shapes or times say otherwise."""
    for cause in findings:
        for rule in cause.would_explain:
            how = link_of(cause.rule, rule, cause.shape)
            if how is None:
                continue
            for f in findings:
                began_later = cause.since is not None and cause.since > f.last_seen
                if f.rule == rule and not began_later and (not how.shapes or f.shape in how.shapes):
                    yield cause, f, how


def _comes_before(cause: Finding, others: Sequence[tuple[Finding, Evidence]], causes: Causes) -> bool:
    """Whether it causes another of these causes, through others or not. links.py has no circle."""
    ahead = [other.id for other, _ in others if other.id != cause.id]
    seen: set[str] = set()
    while ahead:
        here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        if any(one.id == cause.id for one, _ in causes.get(here, ())):
            return True
        ahead += [one.id for one, _ in causes.get(here, ())]
    return False


def _linked(f: Finding, causes: Sequence[tuple[Finding, Evidence]], explained: Sequence[str]) -> Finding:
    word = "its cause" if len(causes) == 1 else "a possible cause"
    found = [
        structs.replace(evidence, statement=f"{evidence.statement} by {word}, {cause.id}{_order(cause, f)}")
        for cause, evidence in causes
    ]
    return structs.replace(
        f,
        caused_by=tuple(cause.id for cause, _ in causes),
        evidence=(*f.evidence, *found),
        would_explain=tuple(explained),
    )


def _raised(f: Finding, consequences: Sequence[Finding]) -> Finding:
    """As grave as what it was found to cause, and told as a cause. Who reads them has not made them."""
    if f.rule != ZOMBIES or not consequences:
        return f
    texts = catalogue()[ZOMBIES].explanation
    return structs.replace(
        f,
        severity=min((c.severity for c in consequences), key=SEVERITIES.index),
        title=f"{f.title}, and whoever reads memory.stat goes through them while packets wait",
        parties=tuple(dict.fromkeys(p for c in consequences for p in c.parties if p.role == "victim")),
        explanation=texts["cause"] + texts["kept"],
    )


def _weight(cause: Finding, consequence: Finding) -> tuple[bool, int]:
    """Smaller where more speaks for it: what began before, then what is surer."""
    return _began_before(cause, consequence) < 0, SURENESS.index(cause.confidence)


def _order(cause: Finding, consequence: Finding) -> str:
    """In words, where both beginnings are known and more than a second apart."""
    seconds = _began_before(cause, consequence)
    if abs(seconds) < 1:
        return ""
    return f", which began {abs(seconds):,.0f} s {'earlier' if seconds > 0 else 'later'}"


def _began_before(cause: Finding, consequence: Finding) -> float:
    """Seconds; below 0 it began later. 0 where it is not known."""
    if cause.since is None or consequence.since is None:
        return 0.0
    return (consequence.since - cause.since).total_seconds()


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first; at the same severity a cause before what it causes, the surer before the less sure, then size."""
    return sorted(
        findings,
        key=lambda f: (
            SEVERITIES.index(f.severity), bool(f.caused_by), SURENESS.index(f.confidence), -largest_share(f),
        ),
    )  # fmt: skip
