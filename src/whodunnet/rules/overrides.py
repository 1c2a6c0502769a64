"""Thresholds that a user sets in place of the catalogue's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Limit, Thresholds
from whodunnet.model.text import clean
from whodunnet.rules.catalogue import Entry, Threshold, catalogue

TABLE: Final = "thresholds"


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """source: the file they were read from, None without one. values: by rule and name, in the catalogue's unit."""

    source: str | None = None
    values: Mapping[str, Mapping[str, float]] = {}

    def entry(self, rule: str) -> Entry:
        """The rule with the thresholds that are in force."""
        entry, mine = catalogue()[rule], self.values.get(rule)
        if not mine:
            return entry
        changed = {name: replace(entry.thresholds[name], value=value) for name, value in mine.items()}
        return replace(entry, thresholds=entry.thresholds | changed)

    def in_force(self, rules: Iterable[str]) -> Thresholds:
        """Every threshold of these rules, and which of them are not the catalogue's."""
        limits = {
            rule: {name: _limit(rule, name, t) for name, t in self.entry(rule).thresholds.items()} for rule in rules
        }
        changed = [f"{rule}.{name}" for rule in limits for name, limit in limits[rule].items() if limit.is_changed]
        return Thresholds(source=self.source, changed=tuple(changed), rules=limits)


NONE: Final = Overrides()


def _limit(rule: str, name: str, threshold: Threshold) -> Limit:
    default = catalogue()[rule].thresholds[name].value
    if threshold.value == default:
        return Limit(value=threshold.value, unit=threshold.unit)
    return Limit(value=threshold.value, unit=threshold.unit, default=default)


def parse_overrides(raw: Mapping[str, object], source: str) -> Overrides:
    """From a decoded configuration. Raises UsageError, which names the file, the key, and what is allowed."""
    _check_names(raw, (TABLE,), "key", source)
    rules = _table(raw.get(TABLE, {}), TABLE, source)
    _check_names(rules, catalogue(), "rule", source)
    return Overrides(source=source, values={rule: _values(rule, table, source) for rule, table in rules.items()})


def _values(rule: str, raw: object, source: str) -> dict[str, float]:
    table, known = _table(raw, f"{TABLE}.{rule}", source), catalogue()[rule].thresholds
    _check_names(table, known, f"threshold of {rule}", source)
    return {name: _value(f"{TABLE}.{rule}.{name}", value, known[name], source) for name, value in table.items()}


def _value(key: str, raw: object, threshold: Threshold, source: str) -> float:
    """A number, or a number with its unit as the catalogue has it."""
    if isinstance(raw, dict):
        _check_names(raw, ("value", "unit"), f"key of {key}", source)
        if raw.get("unit", threshold.unit) != threshold.unit:
            raise UsageError(f"{source}: {key} is in {_shown(raw['unit'])}; its unit is {threshold.unit!r}")
        raw = raw.get("value")
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not threshold.allows(raw):
        given = "has no value" if raw is None else f"is {_shown(raw)}"
        raise UsageError(f"{source}: {key} {given}; it must be {threshold.allowed}")
    return float(raw)


def _table(raw: object, key: str, source: str) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise UsageError(f"{source}: {key} is {_shown(raw)}; it must be a table, as [{TABLE}.RULE]")
    return raw


def _check_names(given: Iterable[str], known: Iterable[str], what: str, source: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            shown = _shown(name)
            raise UsageError(f"{source}: there is no {what} {shown}; there {_are(names)}: {', '.join(names)}")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _shown(value: object) -> str:
    try:
        return clean(repr(value), 80)
    except ValueError:  # of whole numbers, Python prints no more than 4,300 digits
        return "a number too long to print"
