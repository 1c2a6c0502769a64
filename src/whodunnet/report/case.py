"""Findings as a tree: every consequence under its cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from whodunnet.model.finding import Finding


@dataclass(frozen=True)
class Case:
    """A finding and the cases it caused, in the order of the diagnosis.

    shared: what it may have caused too, and what is shown under another cause. others: its own further causes.
    """

    finding: Finding
    consequences: tuple[Case, ...] = ()
    shared: tuple[Finding, ...] = ()
    others: tuple[Finding, ...] = ()

    def findings(self) -> Iterator[Finding]:
        """This one, then all it caused."""
        yield self.finding
        for consequence in self.consequences:
            yield from consequence.findings()


def cases(findings: Sequence[Finding]) -> tuple[Case, ...]:
    """Each finding appears once, under the first of its causes that is in the diagnosis; the others name it."""
    positions = {finding.id: position for position, finding in reversed([*enumerate(findings)])}
    causes: dict[int, int] = {}
    for position, finding in enumerate(findings):
        named = (positions[cause] for cause in finding.caused_by if cause in positions)
        cause = next((c for c in named if not _leads_to(c, position, causes)), None)
        if cause is not None:
            causes[position] = cause
    return tuple(_case(position, findings, causes) for position in range(len(findings)) if position not in causes)


def _leads_to(start: int, goal: int, causes: Mapping[int, int]) -> bool:
    """Whether following causes from `start` ends at `goal`: linking them would close a circle."""
    here: int | None = start
    while here is not None and here != goal:
        here = causes.get(here)
    return here == goal


def _case(position: int, findings: Sequence[Finding], causes: Mapping[int, int]) -> Case:
    finding, cause = findings[position], causes.get(position)
    elsewhere = (findings[effect] for effect, shown_at in causes.items() if shown_at != position)
    return Case(
        finding,
        consequences=tuple(_case(effect, findings, causes) for effect, at in causes.items() if at == position),
        shared=tuple(f for f in elsewhere if finding.id in f.caused_by),
        others=tuple(f for n, f in enumerate(findings) if f.id in finding.caused_by and n not in (cause, position)),
    )
