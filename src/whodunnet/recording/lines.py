"""Recordings as JSON lines that a reviewer can read: first the node and the window, then one snapshot a line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from whodunnet.errors import RecordingError
from whodunnet.model.sample import CollectorCost
from whodunnet.model.snapshot import Node, Recording, Snapshot

SCHEMA = "whodunnet/recording/v1"


class Schema(msgspec.Struct):
    """The one field that every version has."""

    schema: str


class Header(msgspec.Struct, kw_only=True):
    """What is true of the whole recording."""

    schema: str = SCHEMA
    node: Node
    costs: dict[str, CollectorCost] = {}
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


def save(recording: Recording, path: Path) -> None:
    """Write a recording. Raises RecordingError with the system's reason if the file cannot be written."""
    r = recording
    header = Header(
        node=r.node,
        costs=r.costs,
        wall_seconds=r.wall_seconds,
        cpu_seconds=r.cpu_seconds,
        peak_rss_bytes=r.peak_rss_bytes,
    )
    lines = [msgspec.json.encode(header), *(msgspec.json.encode(s) for s in r.snapshots)]
    try:
        path.write_bytes(b"\n".join(lines) + b"\n")
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from error


def load(path: Path) -> Recording:
    """Read a recording. Raises RecordingError if it is foreign, truncated or of a newer schema."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(lines[0] if lines else b"", type=Schema).schema
        if schema != SCHEMA:
            raise RecordingError(f"{path} has schema {schema}; this version reads {SCHEMA}")
        header = msgspec.json.decode(lines[0], type=Header)
        snapshots = tuple(msgspec.json.decode(line, type=Snapshot) for line in lines[1:])
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path} is no recording of whodunnet, or is damaged: {error}") from error
    if not snapshots:
        raise RecordingError(f"{path} holds no snapshot")
    return Recording(
        node=header.node,
        snapshots=snapshots,
        costs=header.costs,
        wall_seconds=header.wall_seconds,
        cpu_seconds=header.cpu_seconds,
        peak_rss_bytes=header.peak_rss_bytes,
    )
