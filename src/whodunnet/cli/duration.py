"""The option type for lengths of time: 3s, 500ms, 2m, 1h."""

from __future__ import annotations

import re

import click

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SECONDS = 24 * 3600.0


class Duration(click.ParamType[float]):
    """Seconds as a float; a number without a unit is seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)?", str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time; write for example 500ms, 3s, 2m or 1h", param, ctx)
        seconds = float(match[1]) * UNITS[match[2] or "s"]
        if seconds > LONGEST_SECONDS:
            self.fail(f"{value!r} is longer than a day", param, ctx)
        return seconds
