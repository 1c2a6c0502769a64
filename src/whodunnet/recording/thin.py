"""Makes room in a recording: the older, the wider apart its snapshots get."""

from __future__ import annotations

import sqlite3
from collections import Counter

KEPT_AT_LEAST = 16
"""Fewer snapshots than this are not thinned any more: they would tell nothing of what happened between."""


def thin(connection: sqlite3.Connection) -> int:
    """Take out every second snapshot of the older half; the number taken, 0 if nothing is left to take.

    The first snapshot of all stays, and a key frame as long as another frame needs it.
    """
    rows = [(int(number), key) for number, key in connection.execute("SELECT id, key FROM snapshot ORDER BY id")]
    if len(rows) < KEPT_AT_LEAST:
        return 0
    old = rows[1 : len(rows) // 2]
    needed = Counter(key for _, key in rows if key is not None)
    frames = [number for number, key in old if key is not None][::2]
    keys = [number for number, key in old if key is None and not needed[number]][::2]
    taken = frames or keys
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM snapshot WHERE id = ?", [(number,) for number in taken])
    connection.execute("COMMIT")
    return len(taken)
