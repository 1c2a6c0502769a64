"""The whole answer, in the shape that --format json prints."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from whodunnet.model.finding import Cleared, Finding, NotApplicable, NotChecked
from whodunnet.model.sample import CollectorCost
from whodunnet.model.snapshot import Node

Outcome = Literal["finding", "healthy", "incomplete"]


class Tool(msgspec.Struct, frozen=True):
    version: str


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """start and end are "from" and "to" in JSON.

    tree: the directory of copied files that was judged, only where it was no node that ran.
    """

    start: datetime = msgspec.field(name="from")
    end: datetime = msgspec.field(name="to")
    seconds: float
    snapshots: int
    tree: str | UnsetType = UNSET


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    collectors: dict[str, CollectorCost]


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A threshold as it was compared with. default: the catalogue's, only where it is another."""

    value: float
    unit: str
    default: float | UnsetType = UNSET

    @property
    def is_changed(self) -> bool:
        return self.default is not UNSET


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """In force for the rules that were run. source ("from" in JSON): the configuration that was read, null without one.

    changed: RULE.THRESHOLD of each that is not the catalogue's.
    """

    source: str | None = msgspec.field(default=None, name="from")
    changed: tuple[str, ...] = ()
    rules: dict[str, dict[str, Limit]] = {}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Findings ranked, consequences under their cause, what was cleared, what could not be checked.

    limits: what these rights or this kernel kept from being seen, and what would add most.
    """

    schema: str = "whodunnet/diagnosis/v1"
    tool: Tool
    node: Node
    window: Window
    outcome: Outcome
    findings: tuple[Finding, ...]
    cleared: tuple[Cleared, ...]
    not_checked: tuple[NotChecked, ...]
    not_applicable: tuple[NotApplicable, ...]
    cost: Cost
    limits: tuple[str, ...] = ()
    thresholds: Thresholds = Thresholds()
