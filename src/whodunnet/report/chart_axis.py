"""Axes that a person can read: round values in binary units, round times in UTC."""

from __future__ import annotations

import math
from datetime import datetime

from whodunnet.report.chart_clock import moment
from whodunnet.report.chart_columns import What
from whodunnet.report.quantity import count, number, size

_ROUND = {"tcp-memory": (1, 2, 5, 10, 20, 50, 100, 256, 512), "sockets": (1, 2, 5, 10, 20, 50, 100, 200, 500)}
_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400,
    2 * 86400, 7 * 86400,
)  # fmt: skip
_DAY = 86400


def named_quantity(value: int, what: What) -> str:
    """ "13.7 GiB", or "4,797 sockets"."""
    return size(value) if what == "tcp-memory" else count(value, "socket")


def quantity(value: float, what: What) -> str:
    """ "13.7 GiB", or "4,797"."""
    return size(value) if what == "tcp-memory" else number(round(value))


def growth(value: float | None, what: What) -> str:
    """ "+2.1 GiB", "-12", or a dash where it is unknown."""
    if value is None:
        return "–"
    text = quantity(abs(value), what)
    if text in ("0", "0 B"):
        return text
    return f"+{text}" if value > 0 else f"-{text}"


def value_ticks(top: int, at_most: int, what: What) -> list[tuple[int, str]]:
    """Round values from 0 up to `top` with their labels, `at_most` of them."""
    unit = 1
    base = 1024 if what == "tcp-memory" else 1000
    while True:
        for factor in _ROUND[what]:
            step = factor * unit
            if top // step < at_most:
                return [(n * step, _tick(n * step, what)) for n in range(top // step + 1)]
        unit *= base


def _tick(value: int, what: What) -> str:
    """ "1.25 GiB": as many digits as the step has."""
    if what == "sockets" or not value:
        return f"{value:,}"
    amount = float(value)
    while amount >= 1024:
        amount /= 1024
    return f"{amount:g} {size(value).split()[1]}"


def time_ticks(start: float, end: float, at_most: int) -> list[tuple[float, str]]:
    """Round times in UTC with their labels; midnight is the new date."""
    step = next((s for s in _STEPS if (end - start) / s <= at_most), None)
    if step is None:
        step = math.ceil((end - start) / at_most / _DAY) * _DAY
    first = math.ceil(start / step) * step
    times = [float(t) for t in range(first, math.floor(end) + 1, step)]
    return [(t, _time_label(moment(t), step)) for t in times]


def _time_label(at: datetime, step: int) -> str:
    if (at.hour, at.minute, at.second) == (0, 0, 0):  # also where a step is a day or more
        return at.strftime("%m-%d")
    return at.strftime("%H:%M:%S" if step < 60 else "%H:%M")


def span_label(start: float, end: float) -> str:
    """ "2022-06-14 09:00 to 15:00 UTC"; with seconds where it is short."""
    first, last = moment(start), moment(end)
    if end - start < 1:
        return f"{last:%Y-%m-%d %H:%M:%S} UTC"
    form = "%H:%M:%S" if end - start < 600 else "%H:%M"
    if first.date() == last.date():
        return f"{first:%Y-%m-%d} {first.strftime(form)} to {last.strftime(form)} UTC"
    return f"{first:%Y-%m-%d} {first.strftime(form)} to {last:%Y-%m-%d} {last.strftime(form)} UTC"
