"""What a stored recording is to whoever reads it, whichever form it has on disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.recording.header import Header

EARLIEST: Final = datetime(1902, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
LONGEST_SECONDS: Final = 1e10
"""Times that a computation may add to or take from without leaving what a datetime can hold."""


class Row(msgspec.Struct, frozen=True):
    """One snapshot by when it was taken; header: position of its run in Source.headers; number: the source's own."""

    header: int
    at: Moment
    number: int


class Source(Protocol):
    """A recording on disk. rows are in the order in which they were taken; read raises RecordingError if damaged."""

    headers: Sequence[Header]
    rows: Sequence[Row]

    def read(self, row: Row) -> Snapshot: ...

    def close(self) -> None: ...


def parse_snapshot(text: bytes) -> Snapshot:
    """Raises ValueError (of which msgspec's errors are) or RecursionError if it is none, or of an impossible time."""
    snapshot = msgspec.json.decode(text, type=Snapshot)
    possible(snapshot.at)
    return snapshot


def possible(at: Moment) -> Moment:
    """The same moment. Raises ValueError if no clock can have shown it."""
    if at.wall.tzinfo is None or not (EARLIEST <= at.wall <= LATEST and 0 <= at.boot_seconds <= LONGEST_SECONDS):
        raise ValueError("a snapshot has an impossible time")
    return at
