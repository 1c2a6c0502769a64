"""Points in time as a person types them."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.cli.instant import Instant

END = datetime(2026, 3, 2, 12, 30, 15, tzinfo=UTC)


def resolved(text: str) -> datetime:
    return Instant().convert(text, None, None).resolve(END)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T14:00:00+02:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 12:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("12:30", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
        ("12:30:16", datetime(2026, 3, 1, 12, 30, 16, tzinfo=UTC)),
        ("23:59", datetime(2026, 3, 1, 23, 59, tzinfo=UTC)),
        ("-10m", datetime(2026, 3, 2, 12, 20, 15, tzinfo=UTC)),
        ("-15", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
        ("-1d", datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)),
    ],
)
def test_times_as_people_write_them(text: str, means: datetime) -> None:
    assert resolved(text) == means


@pytest.mark.parametrize("text", ["", "-", "noon", "25:00", "12:60", "1:00", "2026-13-01", "-10x", "٣:٠٠", "+5m"])
def test_a_time_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time; write for example 2026-03-01T12:00:00Z"):
        Instant().convert(text, None, None)


@given(st.text())
def test_any_text_is_a_time_or_refused_in_one_sentence(text: str) -> None:
    refused = ""
    try:
        assert Instant().convert(text, None, None)
    except click.BadParameter as error:
        refused = error.message
    assert refused.isprintable()


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_what_isoformat_prints_is_understood(moment: datetime) -> None:
    assert resolved(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("12:30:15", datetime(2026, 3, 2, 12, 30, 15, 999_999, tzinfo=UTC)),
        ("12:31", datetime(2026, 3, 2, 12, 31, 0, 999_999, tzinfo=UTC)),
        ("11:00", datetime(2026, 3, 2, 11, 0, 0, 999_999, tzinfo=UTC)),
        ("2026-03-02T12:30:15.25Z", datetime(2026, 3, 2, 12, 30, 15, 250_000, tzinfo=UTC)),
        ("-10m", datetime(2026, 3, 2, 12, 20, 15, tzinfo=UTC)),
    ],
)
def test_an_end_has_all_of_its_second_and_is_not_before_the_recording(text: str, means: datetime) -> None:
    """The recording began at 10:30 and is shorter than a day."""
    typed = Instant().convert(text, None, None)
    assert typed.resolve_to(datetime(2026, 3, 2, 10, 30, tzinfo=UTC), END) == means
