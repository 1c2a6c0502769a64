"""The rules as data: catalogue.toml, checked while it is read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from whodunnet.model.finding import Severity


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit a rule compares with, its unit, and why it is where it is."""

    value: float
    unit: str
    why: str


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of a fault: a title with {who}, {sockets}, {peer}, {state}, its meaning in plain words, and its cure."""

    title: str
    explanation: tuple[str, ...]
    fix: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule. severity: the worst it can say. required, optional: collectors."""

    title: str
    claim: Literal[
        "holds", "leaks", "races", "answers-not", "drops", "floods", "reuses-too-late", "refuses", "delays", "resets"
    ]  # fmt: skip
    reason: str
    severity: Severity
    required: tuple[str, ...]
    optional: tuple[str, ...]
    would_explain: tuple[str, ...]
    why: str
    thresholds: dict[str, Threshold]
    explanation: dict[str, tuple[str, ...]] = {}
    shapes: dict[str, Shape] = {}

    def limit(self, name: str) -> float:
        """Value of a threshold."""
        return self.thresholds[name].value


@cache
def catalogue() -> dict[str, Entry]:
    """Every rule by its id, in the order of the file, causes after their consequences."""
    raw = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    return msgspec.convert(raw, dict[str, Entry])


def needed_collectors(rules: Iterable[str]) -> set[str]:
    """Every collector that one of these rules reads."""
    return {name for rule in rules for name in (*catalogue()[rule].required, *catalogue()[rule].optional)}
