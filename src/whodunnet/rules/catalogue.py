"""The rules as data: catalogue.toml, checked while it is read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from whodunnet.model.finding import Severity
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS

COUNT_MAX: Final = 10**12
SECONDS_MAX: Final = 31 * 86400
"""As long as a recording may be judged at once."""
RATIO_MAX: Final = 1000


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit a rule compares with, its unit, and why it is where it is.

    most: the largest that makes sense, where its unit does not say. ages: only ages that collectors tell apart.
    """

    value: float
    unit: str
    why: str
    most: float | None = None
    ages: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it counts things, of which there are no parts."""
        measured = self.unit in ("seconds", "ratio") or self.unit.startswith("share") or self.unit.endswith(" a second")
        return not measured

    @property
    def largest(self) -> float:
        """What may be set at most."""
        if self.most is not None:
            return self.most
        kinds = {"seconds": SECONDS_MAX, "ratio": RATIO_MAX}
        return 1 if self.unit.startswith("share") else kinds.get(self.unit, COUNT_MAX)

    def allows(self, value: float) -> bool:
        """Whether a rule can be judged with this number."""
        if self.ages:
            return value in AGE_BOUNDS_SECONDS
        return 0 < value <= self.largest and (not self.is_whole or value == int(value))

    @property
    def allowed(self) -> str:
        """The same in words."""
        if self.ages:
            return f"one of {', '.join(map(str, AGE_BOUNDS_SECONDS))} {self.unit}"
        kind = "a whole number" if self.is_whole else "a number"
        return f"{kind} above 0, {self.largest:,.0f} at most ({self.unit})"


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of a fault: a title with {who}, {sockets}, {peer}, {state}, its meaning in plain words, and its cure."""

    title: str
    explanation: tuple[str, ...]
    fix: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule. severity: the worst it can say. required, optional: collectors. names: whom or what a finding names."""

    title: str
    claim: Literal[
        "holds", "leaks", "races", "answers-not", "drops", "floods", "reuses-too-late", "refuses", "delays", "resets",
        "limits", "is-wrong",
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
    names: str = ""

    def limit(self, name: str) -> float:
        """Value of a threshold."""
        return self.thresholds[name].value


@cache
def catalogue() -> dict[str, Entry]:
    """Every rule by its id, in the order of the file."""
    raw = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    return msgspec.convert(raw, dict[str, Entry])


def needed_collectors(rules: Iterable[str]) -> set[str]:
    """Every collector that one of these rules reads."""
    return {name for rule in rules for name in (*catalogue()[rule].required, *catalogue()[rule].optional)}
