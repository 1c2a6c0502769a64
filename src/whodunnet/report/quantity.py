"""Numbers as a person reads them: thousands separated, pages with bytes, percentages against limits."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from whodunnet.model.finding import Evidence

PAGE_SIZE_BYTES = 4096
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COMPARISONS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}


def number(value: float) -> str:
    """Whole numbers exactly, fractions with three significant digits."""
    if not math.isfinite(value):
        return "unknown"
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 1:
        return f"{value:.3g}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def count(value: int, noun: str) -> str:
    """ "1 socket", "4,797 sockets"; for nouns whose plural only adds an s."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def size(value: float) -> str:
    """Bytes in the largest binary unit that keeps the number above one."""
    unit = 0
    while abs(value) >= 1023.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 1 if unit and abs(value) < 100 else 0
    return f"{value:,.{digits}f} {_UNITS[unit]}"


def pages(value: float, page_size_bytes: int = PAGE_SIZE_BYTES) -> str:
    """ "9,281,400 pages, 35.4 GiB"."""
    return f"{number(value)} {'page' if value == 1 else 'pages'}, {size(value * page_size_bytes)}"


def percent(value: float, limit: float = 1) -> str:
    """value as percentage of limit, rounded down: 100 % is never said of a limit that is not reached."""
    ratio = round(value / limit * 100, 6)
    if not math.isfinite(ratio):
        return "unknown"
    if ratio >= 1000:
        return f"{number(math.floor(ratio / 100))} times"
    return f"{math.floor(ratio)} %" if ratio >= 10 or ratio == int(ratio) else f"{math.floor(ratio * 10) / 10} %"


def duration(seconds: float) -> str:
    """The two largest units: "110 ms", "5.3 s", "12 min", "3 h 18 min", "4 d 2 h"."""
    if seconds < 1:
        return f"{number(round(seconds * 1000, 3))} ms" if seconds else "0 s"
    if seconds < 120:
        return f"{round(seconds, 1):g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if hours else f"{days:,} d"


def clock(moment: datetime, near: datetime | None = None) -> str:
    """UTC time of day, with the date unless it is that of `near`."""
    moment = utc(moment)
    same_day = near is not None and utc(near).date() == moment.date()
    return moment.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M:%S UTC")


def utc(moment: datetime) -> datetime:
    """The same instant in UTC; a naive time is UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def amount(value: float | int | str | None, unit: str, page_size_bytes: int = PAGE_SIZE_BYTES) -> str:
    """A reading with its unit, in words that suit the unit."""
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return f"{value} {unit}".rstrip()
    base, rate = _split_rate(unit)
    match base:
        case "pages" | "page":
            return f"{number(value)} {unit}, {size(value * page_size_bytes)}{rate}"
        case "bytes" | "byte" if abs(value) >= 1024:
            return f"{number(value)} {unit}, {size(value)}{rate}"
        case "seconds" | "s" if not rate:
            return duration(value) if value >= 0 else f"{number(value)} s"
        case "percent" | "%":
            return f"{number(value)} %{rate}"
        case "share" | "fraction":
            return percent(value)
        case _:
            return f"{number(value)} {unit}".rstrip()


def reading(evidence: Evidence, page_size_bytes: int = PAGE_SIZE_BYTES) -> str:
    """The value against its limit: "9,281,400 pages, 35.4 GiB > limit 9,177,012 pages, 35.0 GiB (101 %)"."""
    value, limit = evidence.value, evidence.limit
    text = amount(value, evidence.unit, page_size_bytes)
    if limit is None:
        return text
    if evidence.comparison == "of" and isinstance(value, int) and limit > 0:
        return f"{value:,} of {amount(limit, evidence.unit, page_size_bytes)} ({percent(value, limit)})"
    sign = "," if evidence.comparison is None else f" {_COMPARISONS.get(evidence.comparison, evidence.comparison)}"
    text = f"{text}{sign} limit {amount(limit, evidence.unit, page_size_bytes)}"
    if isinstance(value, str) or value is None or value < 0 or limit <= 0 or evidence.unit in ("percent", "%", "share"):
        return text
    return f"{text} ({percent(value, limit)})"


def _split_rate(unit: str) -> tuple[str, str]:
    """ "pages per second" is ("pages", " per second"), "pages/s" is ("pages", "/s")."""
    for separator in ("/", " per "):
        base, found, per = unit.partition(separator)
        if found:
            return base, separator + per
    return unit, ""
