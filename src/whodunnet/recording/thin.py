"""Makes room in a recording: the older, the wider apart its snapshots get; the fullest of a boot stay."""

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

    The first snapshot of all stays, and of each boot those with the most pages of TCP memory, the most tracked
    connections and the longest waiting of packets; a key frame as long as another frame needs it. Raises RecordingError
    if the header of a run is damaged.
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
    """Of each boot the first snapshot with the most pages, the most tracked connections, the longest waiting."""
    boots = {run: parse_header(text, path).node.boot_id for run, text in connection.execute("SELECT * FROM run")}
    highest: dict[tuple[str, str | None], tuple[int, int]] = {}
    for of in ("used_pages", "tracked", "waited_us"):
        seen = f"SELECT run, id, {of} FROM snapshot WHERE typeof({of}) = 'integer' ORDER BY id"
        for run, number, value in connection.execute(seen):
            boot = of, boots.get(run)
            if boot not in highest or value > highest[boot][0]:
                highest[boot] = value, number
    return {number for _, number in highest.values()}
