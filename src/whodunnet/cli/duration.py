"""The option type for lengths of time: 3s, 500ms, 2m, 1h."""

from __future__ import annotations

import re

import click

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_SECONDS = 24 * 3600.0


class Duration(click.ParamType[float]):
    """Seconds as a float; a number without a unit is seconds."""

    name = "time"

    def __init__(self, longest_days: int = 1) -> None:
        self.longest_days = longest_days

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = seconds_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is no length of time; write for example 500ms, 3s, 2m or 1h", param, ctx)
        if seconds > self.longest_days * LONGEST_SECONDS:
            longest = "a day" if self.longest_days == 1 else f"{self.longest_days} days"
            self.fail(f"{value!r} is longer than {longest}", param, ctx)
        return seconds


def seconds_of(text: str) -> float:
    """A number with a unit as seconds. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)?", text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * UNITS[match[2] or "s"]
