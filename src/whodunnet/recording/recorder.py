"""Writes a recording while it happens: never a broken file, never a full disk, never more than it was allowed.

The file comes into being with its first snapshot in it. Where the room is used up, the oldest snapshots are thinned.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from whodunnet.errors import RecordingError
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.text import clean
from whodunnet.recording.create import create
from whodunnet.recording.database import (
    BUSY_SECONDS,
    LAYOUT,
    MAGIC,
    ROWS_MAX,
    check_beside,
    check_identity,
    connect,
)
from whodunnet.recording.frame import pack
from whodunnet.recording.header import Header, parse_header
from whodunnet.recording.peak import tracked, used_pages, waited_us
from whodunnet.recording.thin import thin

FRAMES_PER_KEY = 60
RESERVE_BYTES = 64 << 20
"""Free space that is left to everybody else on the file system."""


class Recorder:
    """One run of a recorder on one file; use it in a `with` block."""

    def __init__(self, path: Path, max_size_bytes: int) -> None:
        """Takes the file for itself if there is one, which must be a recording. Raises RecordingError if it cannot."""
        self.path = path
        self.thinned = 0
        self._max_size_bytes = max_size_bytes
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._run = 0
        self._key: tuple[int, bytes] | None = None
        self._since_key = 0
        self._count = 0
        if path.exists():
            self._lock = _lock(path)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves one file; what SQLite keeps beside it goes with its last connection."""
        if self._connection is not None:
            self._connection.close()
        if self._lock is not None:
            os.close(self._lock)

    @property
    def size_bytes(self) -> int:
        """What the snapshots take; space that was freed is used again."""
        assert self._connection is not None
        pages, free = self._pragma("page_count"), self._pragma("freelist_count")
        return (pages - free) * self._pragma("page_size")

    def append(self, snapshot: Snapshot, header: Header) -> None:
        """Store a snapshot and the header as it is by now; either both are on disk afterwards or none.

        Raises RecordingError if the room is used up and nothing is left to thin, or if the disk refuses.
        """
        text = msgspec.json.encode(snapshot)
        try:
            if self._connection is None:
                self._begin(header, snapshot, text)
            else:
                self._make_room()
                self._insert(header, snapshot, text)
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RecordingError(
                f"{self.path} cannot be written: {reason}; it keeps what was recorded before"
            ) from error

    def _begin(self, header: Header, snapshot: Snapshot, text: bytes) -> None:
        _check_free(self.path, len(text))
        if self._lock is None:
            create(self.path, _begun(header, snapshot, text))
            self._lock = _lock(self.path)
            self._open()
            self._run, self._key, self._count = 1, (1, text), 1
            return
        self._open()
        self._check_same_node(header)
        self._count = self._pragma_of("SELECT count(*) FROM snapshot")
        self._make_room()
        self._run = self._pragma_of("SELECT coalesce(max(id), 0) + 1 FROM run")
        self._insert(header, snapshot, text)

    def _open(self) -> None:
        check_beside(self.path)
        self._connection = connect(self.path, "mode=rw")
        if self._pragma_of("SELECT count(*) FROM sqlite_master") == 0:  # ended before it had written anything
            self._connection.executescript(LAYOUT)
        check_identity(self._connection, self.path)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        check_beside(self.path)  # and whoever was faster than SQLite

    def _check_same_node(self, header: Header) -> None:
        found = self._sql("SELECT header FROM run ORDER BY id DESC LIMIT 1").fetchone()
        if found is None:
            return
        before = parse_header(found[0], self.path)
        if before.redacted or header.redacted:
            raise RecordingError(
                f"{self.path} exists: pseudonyms are those of one run, so a redacted recording needs a new file"
            )
        if before.node.hostname != header.node.hostname:
            raise RecordingError(f"{self.path} is a recording of {clean(before.node.hostname)}; choose another file")

    def _insert(self, header: Header, snapshot: Snapshot, text: bytes) -> None:
        key = self._key if self._since_key < FRAMES_PER_KEY else None
        data = pack(text, key[1] if key else None)
        self._sql("BEGIN IMMEDIATE")
        try:
            self._sql("INSERT OR REPLACE INTO run VALUES (?, ?)", self._run, msgspec.json.encode(header).decode())
            number = self._sql(INSERT, *_row(self._run, snapshot), key[0] if key else None, data).lastrowid
            self._sql("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._sql("ROLLBACK")
            raise
        self._count += 1
        # The file alone is complete after each snapshot: somebody may copy it without what SQLite keeps beside it.
        # Whoever reads at this moment holds it back; a recorder does not wait, the next snapshot does it too.
        self._sql("PRAGMA busy_timeout = 0")
        self._sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        if key is None:
            assert number is not None
            self._key, self._since_key = (number, text), 0
        self._since_key += 1

    def _make_room(self) -> None:
        """Thin until there is room for as much again as the newest snapshot may need. Raises RecordingError."""
        assert self._connection is not None
        while self._count >= ROWS_MAX or self.size_bytes > self._room() * 0.95:
            taken = thin(self._connection, self.path)
            if taken == 0:
                allowed = f"even thinned it does not fit in {self._max_size_bytes / 1e6:g} MB; give a larger --max-size"
                why = allowed if self._room() == self._max_size_bytes else "its disk is nearly full"
                raise RecordingError(f"{self.path} ends here: {why}")
            self.thinned += taken
            self._count -= taken

    def _room(self) -> int:
        """How large the snapshots may be by now: what was allowed, and what the disk has."""
        freed = self._pragma("freelist_count") * self._pragma("page_size")
        free = shutil.disk_usage(self.path.parent).free
        return min(self._max_size_bytes, self.size_bytes + freed + max(0, free - RESERVE_BYTES))

    def _sql(self, statement: str, *values: object) -> sqlite3.Cursor:
        assert self._connection is not None
        return self._connection.execute(statement, values)

    def _pragma(self, name: str) -> int:
        return self._pragma_of(f"PRAGMA {name}")

    def _pragma_of(self, statement: str) -> int:
        return int(self._sql(statement).fetchone()[0])


COLUMNS = ("run", "wall", "boot_seconds", "used_pages", "tracked", "waited_us", "key", "data")
INSERT = f"INSERT INTO snapshot ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def _row(run: int, snapshot: Snapshot) -> tuple[int, float, float, int | None, int | None, int | None]:
    at = snapshot.at
    return run, at.wall.timestamp(), at.boot_seconds, used_pages(snapshot), tracked(snapshot), waited_us(snapshot)


def _begun(header: Header, snapshot: Snapshot, text: bytes) -> bytes:
    """The file with its first snapshot."""
    with sqlite3.connect(":memory:", isolation_level=None) as memory:
        memory.executescript(LAYOUT)
        memory.execute("INSERT INTO run VALUES (1, ?)", (msgspec.json.encode(header).decode(),))
        memory.execute(INSERT, (*_row(1, snapshot), None, pack(text, None)))
        content = bytearray(memory.serialize())
    memory.close()
    # In WAL mode from its first byte (sqlite.org/fileformat2.html, 1.3.3): to switch would leave a journal to a killer.
    content[18:20] = b"\2\2"
    return bytes(content)


def _lock(path: Path) -> int:
    """A lock that ends with this process, however it ends. Raises RecordingError."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_ours(path, file)
    except BlockingIOError:
        os.close(file)
        raise RecordingError(f"another recorder is writing to {path}; choose another file") from None
    except RecordingError:
        os.close(file)
        raise
    return file


def _check_ours(path: Path, file: int) -> None:
    """Raises RecordingError if it is no recording, or somebody else's, who could read what is added to it."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise RecordingError(f"{path} is a pipe or device; choose a file")
    if os.pread(file, len(MAGIC), 0) not in (b"", MAGIC):
        raise RecordingError(f"{path} exists and is no recording of whodunnet; choose another file")
    if os.fstat(file).st_uid != os.geteuid():
        raise RecordingError(f"{path} exists and belongs to another user; choose another file")


def _check_free(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < RESERVE_BYTES + needed_bytes:
        raise RecordingError(
            f"{path} cannot be written: its disk has {free / 1e6:,.0f} MB left, and {RESERVE_BYTES / 1e6:,.0f} MB of "
            "that are not for recordings; choose a file on another disk"
        )
