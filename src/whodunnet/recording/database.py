"""Recordings as SQLite, for the field: whatever ends the recorder, the file has every snapshot but the one under way.

`run` has one line for each run of a recorder, `snapshot` one for each snapshot: key is the id of its key frame, null
for a key frame itself (frame.py). It is in WAL mode, and one file whenever nobody has it open.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from whodunnet.errors import RecordingError
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.text import clean
from whodunnet.recording.frame import unpack, unpacked_bytes
from whodunnet.recording.header import Header, parse_header
from whodunnet.recording.source import Row, parse_snapshot, possible

MAGIC = b"SQLite format 3\0"
APPLICATION_ID = 0x57444E54  # "WDNT"
VERSION = 1
PAGE_BYTES = 1024
"""Small, since each snapshot wastes half a page."""

ROWS_MAX = 500_000
"""Snapshots that are read, and runs: each takes memory before the first is judged. As many are six days of a second."""

BUSY_SECONDS = 10
TRIES, PAUSE_SECONDS = 20, 0.05
"""How often a recording is opened that is written to, where its reader can lock nobody out."""

TABLES = (
    "CREATE TABLE run (id INTEGER PRIMARY KEY, header TEXT NOT NULL)",
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, "
    "key INTEGER REFERENCES snapshot, wall REAL NOT NULL, boot_seconds REAL NOT NULL, used_pages INTEGER, "
    "tracked INTEGER, waited_us INTEGER, data BLOB NOT NULL)",
)
LAYOUT = f"""
PRAGMA page_size = {PAGE_BYTES};
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
{";".join(TABLES)};
COMMIT;
"""


DAMAGE = (sqlite3.Error, msgspec.MsgspecError, ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading a file with changed bytes may raise; sqlite3 decodes names in its own error messages."""


class Database:
    """A recording in SQLite as a Source. It sees the file as it is when opened, whoever goes on writing."""

    def __init__(self, path: Path) -> None:
        """Raises RecordingError if the file is foreign, damaged or of another schema."""
        self._path = path
        self._key: tuple[int, bytes] | None = None
        for tries_left in reversed(range(TRIES)):
            self._connection = open_for_reading(path)
            try:
                self._look()
                return
            except DAMAGE as error:
                self.close()
                if not (tries_left and is_read_only(path) and is_in_use(path)):
                    raise unreadable(path, error) from error
            except RecordingError:
                self.close()
                raise
            time.sleep(PAUSE_SECONDS)

    def read(self, row: Row) -> Snapshot:
        """The snapshot of a row. Raises RecordingError if it is damaged."""
        try:
            return parse_snapshot(self._text(row.number))
        except (*DAMAGE, RecordingError) as error:
            raise damaged(self._path, error) from error

    def size_bytes(self, row: Row) -> int:
        """Of the snapshot's JSON, by the frame's own word. Raises RecordingError if it is damaged."""
        try:
            return unpacked_bytes(self._frame(row.number)[1])
        except (*DAMAGE, RecordingError) as error:
            raise damaged(self._path, error) from error

    def close(self) -> None:
        """Ends the view of the file."""
        self._connection.close()

    def _look(self) -> None:
        self._connection.execute("BEGIN")
        check_identity(self._connection, self._path)
        check_number(self._connection, self._path)
        runs = self._connection.execute("SELECT id, header FROM run ORDER BY id").fetchall()
        self.headers: Sequence[Header] = [parse_header(text, self._path) for _, text in runs]
        positions = {number: position for position, (number, _) in enumerate(runs)}
        rows = self._connection.execute(
            "SELECT run, wall, boot_seconds, id, used_pages, tracked, waited_us FROM snapshot ORDER BY id"
        )
        self.rows: Sequence[Row] = [_row(positions, *row) for row in rows]

    def _text(self, number: int) -> bytes:
        key, data = self._frame(number)
        return unpack(data, self._key_text(key) if key is not None else None)

    def _key_text(self, number: int) -> bytes:
        if self._key is None or self._key[0] != number:
            self._key = number, unpack(self._frame(number)[1], None)
        return self._key[1]

    def _frame(self, number: int) -> tuple[int | None, bytes]:
        found = self._connection.execute("SELECT key, data FROM snapshot WHERE id = ?", (number,)).fetchone()
        if found is None:
            raise RecordingError(f"snapshot {number} is missing")
        return found[0], found[1]


def _row(positions: dict[int, int], run: int, wall: float, boot: float, number: int, *peaks: int | None) -> Row:
    if not all(isinstance(peak, int | None) for peak in peaks):
        raise ValueError("a number of pages, of tracked connections or of microseconds is none")
    return Row(positions[run], possible(Moment(datetime.fromtimestamp(wall, UTC), boot)), number, *peaks)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes no data, and tidies up what a killed recorder left, where it may write.

    Raises RecordingError.
    """
    try:
        check_beside(path)
        if not is_read_only(path):
            connection = connect(path, "mode=rw")
        else:
            connection = connect(path, "mode=ro" if is_in_use(path) else "mode=ro&immutable=1")
        connection.execute("PRAGMA query_only = 1")
    except (*DAMAGE, OSError) as error:
        raise damaged(path, error) from error
    return connection


def is_read_only(path: Path) -> bool:
    """Whether SQLite may not make what it keeps beside the file."""
    return not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def is_in_use(path: Path) -> bool:
    """Whether somebody has it open to write, or was killed; an empty log alone says nothing."""
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    return index.exists() or (log.exists() and log.stat().st_size > 0)


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection in autocommit mode that never writes temporary files."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, timeout=BUSY_SECONDS
    )
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def check_beside(path: Path) -> None:
    """Raises RecordingError if what SQLite takes for its own beside the file was put there by another user."""
    trusted = {0, os.geteuid(), path.stat().st_uid}
    for suffix in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            if beside.lstat().st_uid not in trusted:
                raise RecordingError(f"{beside} belongs to another user and would be taken for a part of {path.name}")


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Raises RecordingError if it is another program's database, of a newer layout, or more than our tables."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise RecordingError(f"{path} is a database, but no recording of whodunnet")
    if version > VERSION:
        raise RecordingError(
            f"{path} has layout {version}, which is newer than this version of whodunnet reads ({VERSION}): "
            "judge it with the version that made it, or a newer one"
        )
    # A view, a trigger or a computed column would run whatever its maker wrote, for as long as he likes.
    found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchmany(len(TABLES) + 1)
    if [_spaced(str(sql)) for (sql,) in found] != list(TABLES):
        raise damaged(path, ValueError("it has other tables"))


def check_number(connection: sqlite3.Connection, path: Path) -> None:
    """Raises RecordingError if it has more snapshots, or runs, than are read."""
    for table in ("snapshot", "run"):
        counted = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {ROWS_MAX + 1})"
        if connection.execute(counted).fetchone()[0] > ROWS_MAX:
            raise RecordingError(f"{path} cannot be read: it holds more than {ROWS_MAX:,} {table}s")


def unreadable(path: Path, error: Exception) -> RecordingError:
    """What to say where the content could not be read: whose fault it is depends on where the file lies."""
    beyond = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY"))
    if beyond and is_read_only(path) and is_in_use(path):
        return RecordingError(
            f"{path} cannot be read where it lies: its recorder is at work or was killed, and only where one may write "
            f"can {path.name}-wal be read with it; copy both elsewhere and read them there"
        )
    return damaged(path, error)


def damaged(path: Path, error: Exception) -> RecordingError:
    """The one sentence for everything that is wrong with a file's content."""
    return RecordingError(f"{path} is no recording of whodunnet, or is damaged: {clean(str(error))}")


def _spaced(statement: str) -> str:
    return " ".join(statement.split()).replace("( ", "(").replace(" )", ")")
