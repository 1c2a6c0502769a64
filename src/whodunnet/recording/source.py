"""What a stored recording is to whoever reads it, whichever form it has on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.recording.header import Header


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
