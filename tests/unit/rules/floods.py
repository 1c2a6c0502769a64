"""A nearly full table in which many clients are busy, and who is beside them."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Evidence, Finding

from .flows import PodAt, crowd, only, twice

POD = PodAt(1)
OTHER = PodAt(2, "api")
CROWD = crowd(100, each=44)
"""4,400 busy entries of a hundred clients: a table of 10,000 that is calm without the rest."""


def filled_by(*groups: FlowGroup, pods: Sequence[PodAt] = (POD, OTHER), **how: object) -> Finding:
    """The finding of a nearly full table in which these are beside the crowd."""
    return only(twice(*CROWD, *groups, pods=pods, dropped=9, **how))  # type: ignore[arg-type]


def said_of(found: Finding, words: str) -> Evidence | None:
    return next((e for e in found.evidence if words in e.statement), None)
