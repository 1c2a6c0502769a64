"""Recordings as JSON lines that a reviewer can read: first the node and the window, then one snapshot a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from whodunnet.errors import RecordingError
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.recording.header import Header, header_of, parse_header
from whodunnet.recording.source import Row


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
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
        header = parse_header(lines[0] if lines else b"", path)
        try:
            self._snapshots = [msgspec.json.decode(line, type=Snapshot) for line in lines[1:]]
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RecordingError(f"{path} is damaged: {error}") from error
        if header.snapshots is not None and header.snapshots != len(self._snapshots):
            raise RecordingError(
                f"{path} is cut short: {len(self._snapshots)} of its {header.snapshots} snapshots are there"
            )
        self.headers: Sequence[Header] = [header]
        self.rows: Sequence[Row] = [Row(0, snapshot.at, number) for number, snapshot in enumerate(self._snapshots)]

    def read(self, row: Row) -> Snapshot:
        """The snapshot of a row."""
        return self._snapshots[row.number]

    def close(self) -> None:
        """Nothing is held open."""
