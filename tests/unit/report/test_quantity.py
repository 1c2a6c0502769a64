from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from whodunnet.model.finding import Evidence
from whodunnet.report.quantity import amount, clock, duration, number, pages, percent, reading, size


def test_pages_are_shown_with_their_bytes() -> None:
    assert pages(9_281_400) == "9,281,400 pages, 35.4 GiB"
    assert pages(1) == "1 page, 4.0 KiB"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (-2048, "-2.0 KiB")],
)
def test_sizes_use_the_largest_unit(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (9_281_400, 9_177_012, "101 %"),
        (9_999, 10_000, "99 %"),
        (0.29, 1, "29 %"),
        (2_112, 262_144, "0.8 %"),
        (0, 5, "0 %"),
        (55, 5, "11 times"),
        (1e308, 1e-9, "unknown"),
    ],
)
def test_percentages_are_rounded_down(value: float, limit: float, text: str) -> None:
    assert percent(value, limit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.11, "110 ms"),
        (5.0, "5 s"),
        (5.34, "5.3 s"),
        (119.99, "120 s"),
        (720, "12 min"),
        (11_880, "3 h 18 min"),
        (7_200, "2 h"),
        (352_800, "4 d 2 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4797, "4,797"),
        (4797.0, "4,797"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (312.4, "312"),
        (float("nan"), "unknown"),
    ],
)
def test_numbers_have_the_digits_a_person_needs(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "pages", "unknown"),
        ("stopped", "", "stopped"),
        (312.4, "pages per second", "312 pages per second, 1.2 MiB per second"),
        (2, "pages/s", "2 pages/s, 8.0 KiB/s"),
        (0.91, "share", "91 %"),
        (101, "percent", "101 %"),
        (14_732_496_896, "bytes", "14,732,496,896 bytes, 13.7 GiB"),
        (0.1273, "seconds", "127 ms"),
        (863, "sockets", "863 sockets"),
    ],
)
def test_units_are_put_in_words(value: Any, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_a_reading_stands_against_its_limit() -> None:
    fields: dict[str, Any] = {"statement": "", "source": "", "repeat": "", "at": datetime(2022, 3, 9, tzinfo=UTC)}
    full = Evidence(value=9_281_400, unit="pages", limit=9_177_012, comparison=">", **fields)
    assert reading(full) == "9,281,400 pages, 35.4 GiB > limit 9,177,012 pages, 35.0 GiB (101 %)"
    assert reading(Evidence(value=1, unit="queues", limit=0, **fields)) == "1 queues, limit 0 queues"
    assert reading(Evidence(value=None, unit="pages", limit=4, comparison=">=", **fields)).startswith("unknown ≥ limit")


def test_the_date_is_shown_only_where_it_differs() -> None:
    now = datetime(2022, 3, 9, 3, 12, 54, tzinfo=UTC)
    assert clock(now, now) == "03:12:54 UTC"
    assert clock(now - timedelta(hours=4), now) == "2022-03-08 23:12:54 UTC"
    assert clock(now.astimezone(timezone(timedelta(hours=9))), now) == "03:12:54 UTC"
