"""The option type for points in time of a recording: 2026-03-01T12:00:00Z, 12:00, -10m."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

import click
import msgspec

from whodunnet.cli.duration import seconds_of

_REST_OF_SECOND = timedelta(microseconds=999_999)


class TypedTime(msgspec.Struct, frozen=True):
    """A time as it was typed: a moment, a time of day in UTC, or how long before the recording's end."""

    moment: datetime | None = None
    of_day: time | None = None
    before_end: timedelta = timedelta()

    def resolve(self, end: datetime) -> datetime:
        """As a moment, for a recording that ends then: a time of day is its last one before that."""
        if self.moment is not None:
            return self.moment
        if self.of_day is None:
            return end - self.before_end
        same_day = datetime.combine(end.astimezone(UTC).date(), self.of_day, UTC)
        return same_day if same_day <= end else same_day - timedelta(days=1)

    def resolve_to(self, start: datetime, end: datetime) -> datetime:
        """As the moment up to which is meant: a whole second with all of it, and no time of day before the start."""
        if self.moment is None and self.of_day is None:
            return self.resolve(end)
        moment = self.resolve(end)
        if self.of_day is not None and moment < start:
            moment += timedelta(days=1)
        return moment if moment.microsecond else moment + _REST_OF_SECOND


class Instant(click.ParamType[TypedTime]):
    """RFC 3339 (UTC if it names no zone), HH:MM[:SS] in UTC, or -TIME before the recording's end."""

    name = "T"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> TypedTime:
        if isinstance(value, TypedTime):
            return value
        try:
            return _parse(str(value))
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time; write for example 2026-03-01T12:00:00Z, 12:00 (UTC) or -10m (before the end)",
                param,
                ctx,
            )


def _parse(text: str) -> TypedTime:
    """Raises ValueError or OverflowError."""
    if text.startswith("-"):
        return TypedTime(before_end=timedelta(seconds=seconds_of(text[1:])))
    if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text, re.ASCII):
        return TypedTime(of_day=time.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    return TypedTime(moment=(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
