"""Pseudonyms under one key, so that a test can foretell them."""

from __future__ import annotations

from datetime import UTC, datetime

from whodunnet.model.sample import Moment
from whodunnet.recording.pseudonyms import Kind, Pseudonyms

KEY = b"a key for tests."
AT = Moment(datetime(2026, 3, 1, tzinfo=UTC), 5_000.0)


def name(kind: Kind, text: str) -> str:
    return Pseudonyms(KEY).name(kind, text)


def address(text: str) -> str:
    return Pseudonyms(KEY).address(text)
