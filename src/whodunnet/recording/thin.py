"""Makes room in a recording: the older, the wider apart its snapshots get; the highest memory of a boot stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from whodunnet.recording.header import parse_header

KEPT_AT_LEAST = 16
"""Fewer snapshots than this are not thinned any more: they would tell nothing of what happened between."""

FRAMES = "key IS NOT NULL"
KEYS = "key IS NULL AND id NOT IN (SELECT key FROM snapshot WHERE key IS NOT NULL)"


def thin(connection: sqlite3.Connection, path: Path) -> int:
    """Take out every second snapshot of the older half; the number taken, 0 if nothing is left to take.

    The first snapshot of all stays, and of each boot the one with the most pages of TCP memory; a key frame as long as
    another frame needs it. Raises RecordingError if the header of a run is damaged.
    """
    (count,) = connection.execute("SELECT count(*) FROM snapshot").fetchone()
    if count < KEPT_AT_LEAST:
        return 0
    peaks = _peaks(connection, path)
    taken = _every_second(connection, FRAMES, count, peaks) or _every_second(connection, KEYS, count, peaks)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM snapshot WHERE id = ?", [(number,) for number in taken])
    connection.execute("COMMIT")
    return len(taken)


def _every_second(connection: sqlite3.Connection, which: str, count: int, peaks: set[int]) -> list[int]:
    old = "SELECT id, key FROM snapshot ORDER BY id LIMIT ? OFFSET 1"
    found = connection.execute(f"SELECT id FROM ({old}) WHERE {which} ORDER BY id", (count // 2 - 1,))
    return [number for (number,) in found if number not in peaks][::2]


def _peaks(connection: sqlite3.Connection, path: Path) -> set[int]:
    """Of each boot the first snapshot with the most pages."""
    boots = {run: parse_header(text, path).node.boot_id for run, text in connection.execute("SELECT * FROM run")}
    highest: dict[str | None, tuple[int, int]] = {}
    seen = "SELECT run, id, used_pages FROM snapshot WHERE typeof(used_pages) = 'integer' ORDER BY id"
    for run, number, pages in connection.execute(seen):
        boot = boots.get(run)
        if boot not in highest or pages > highest[boot][0]:
            highest[boot] = pages, number
    return {number for _, number in highest.values()}
