"""Recordings as JSON lines that a reviewer can read: first the node and the window, then one snapshot a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from whodunnet.errors import RecordingError
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.text import clean
from whodunnet.recording.header import Header, header_of, parse_header
from whodunnet.recording.peak import tracked, used_pages, waited_us
from whodunnet.recording.source import Row, parse_snapshot

BYTES_MAX = 256_000_000
"""All of it is in memory; what is recorded in the field is not in this form."""


def save(recording: Recording, path: Path) -> None:
    """Write a recording. Raises RecordingError with the system's reason if the file cannot be written."""
    header = msgspec.structs.replace(header_of(recording), snapshots=len(recording.snapshots))
    lines = [msgspec.json.encode(header), *(msgspec.json.encode(s) for s in recording.snapshots)]
    try:
        path.write_bytes(b"\n".join(lines) + b"\n")
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from error


class Lines:
    """A file of JSON lines as a Source; it is small, so all of it is in memory."""

    def __init__(self, path: Path) -> None:
        """Raises RecordingError if the file is foreign, cut short or of another schema."""
        try:
            with path.open("rb") as file:
                content = file.read(BYTES_MAX + 1)
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
        lines = content.splitlines()
        header = parse_header(lines[0] if lines else b"", path)
        if len(content) > BYTES_MAX:
            raise RecordingError(f"{path} is too large for JSON lines: more than {BYTES_MAX / 1e6:,.0f} MB")
        try:
            self._snapshots = [parse_snapshot(line) for line in lines[1:]]
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{path} is damaged: {clean(str(error))}") from error
        if header.snapshots is not None and header.snapshots != len(self._snapshots):
            raise RecordingError(
                f"{path} is cut short: {len(self._snapshots)} of its {header.snapshots} snapshots are there"
            )
        self.headers: Sequence[Header] = [header]
        self.rows: Sequence[Row] = [
            Row(0, s.at, n, used_pages(s), tracked(s), waited_us(s)) for n, s in enumerate(self._snapshots)
        ]

    def read(self, row: Row) -> Snapshot:
        """The snapshot of a row."""
        return self._snapshots[row.number]

    def size_bytes(self, _row: Row) -> int:
        """Nothing more than there is already."""
        return 0

    def close(self) -> None:
        """Nothing is held open."""
