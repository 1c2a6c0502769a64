"""What a recorder refuses, and who may read or write at the same time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from whodunnet.errors import RecordingError
from whodunnet.recording import database
from whodunnet.recording import recorder as module
from whodunnet.recording.database import BUSY_SECONDS, Database
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder

from ..recording.history import HEADER, ROOM, history
from ..recording.written import OTHERS_FILE, large, plant, refusal, write
from ..rules.nodes import NODE


@pytest.mark.parametrize("place", ["nowhere/case", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    assert "cannot be written" in refusal(tmp_path / place, history(1))


def test_a_second_recorder_on_a_file_is_refused_and_the_first_goes_on(path: Path) -> None:
    with Recorder(path, ROOM) as first:
        first.append(history(1)[0], HEADER)
        assert refusal(path, history(1)) == f"another recorder is writing to {path}; choose another file"
        first.append(history(2)[1], HEADER)
    assert len(load(path).snapshots) == 2


def test_a_recording_can_be_read_while_it_is_written(path: Path) -> None:
    read = "import sys, pathlib; from whodunnet.recording.reader import load; "
    read += "print(len(load(pathlib.Path(sys.argv[1])).snapshots))"
    with Recorder(path, ROOM) as recorder:
        for count, snapshot in enumerate(history(3), start=1):
            recorder.append(snapshot, HEADER)
            done = subprocess.run([sys.executable, "-c", read, str(path)], check=True, capture_output=True, text=True)
            assert int(done.stdout) == count
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_whoever_cannot_write_locks_a_recording_that_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log is empty most of the time; only what SQLite calls immutable is read without a lock."""
    used: list[str] = []
    real = database.connect
    monkeypatch.setattr(database, "is_read_only", lambda _: True)
    monkeypatch.setattr(database, "connect", lambda path, options: used.append(options) or real(path, options))
    with Recorder(path, ROOM) as recorder:
        for snapshot in history(2):
            recorder.append(snapshot, HEADER)
        assert path.with_name("case-wal").stat().st_size == 0
        assert len(load(path).snapshots) == 2
    assert len(load(path).snapshots) == 2
    assert used == ["mode=ro", "mode=ro&immutable=1"]


@pytest.mark.parametrize(("failures", "readable"), [(3, True), (database.TRIES, False)])
def test_what_is_being_written_is_tried_again_so_many_times(
    path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, readable: bool
) -> None:
    write(path, history(2))
    real, left = Database._look, list(range(failures))

    def look(source: Database) -> None:
        if left:
            left.pop()
            raise sqlite3.DatabaseError("database disk image is malformed")
        real(source)

    monkeypatch.setattr(database, "is_read_only", lambda _: True)
    monkeypatch.setattr(database, "is_in_use", lambda _: True)
    monkeypatch.setattr(database, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(Database, "_look", look)
    if readable:
        assert len(load(path).snapshots) == 2
    else:
        with pytest.raises(RecordingError, match="malformed"):
            load(path)
    assert left == []


def test_a_recorder_does_not_wait_for_whoever_reads(path: Path) -> None:
    hold = "import sys, pathlib; from whodunnet.recording.reader import open_recording; "
    hold += "held = open_recording(pathlib.Path(sys.argv[1])); print(len(held), flush=True); sys.stdin.read()"
    snapshots = history(6)
    with Recorder(path, ROOM) as recorder:
        recorder.append(snapshots[0], HEADER)
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"1\n"
            begin = time.monotonic()
            for snapshot in snapshots[1:5]:
                recorder.append(snapshot, HEADER)
            assert time.monotonic() - begin < BUSY_SECONDS / 2
            reader.kill()
        recorder.append(snapshots[5], HEADER)
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        assert load(copy).snapshots == tuple(snapshots)


def test_a_pipe_or_device_is_refused(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path, history(1)) == f"{path} is a pipe or device; choose a file"


def test_what_a_foreign_header_says_is_cleaned(path: Path) -> None:
    write(path, history(1), replace(HEADER, node=replace(NODE, hostname="n\x1b]0;title\x07")))
    assert "is a recording of n\ufffd]0;title\ufffd;" in refusal(path, history(1))


@OTHERS_FILE
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_nothing_is_written_into_what_another_user_put_beside(path: Path, suffix: str) -> None:
    planted = plant(path, suffix)
    with pytest.raises(RecordingError, match="belongs to another user"):
        write(path, history(3))
    assert planted.read_bytes() == b""


def test_a_disk_that_is_nearly_full_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVE_BYTES", 1 << 60)
    assert "are not for recordings; choose a file on another disk" in refusal(path, history(1))
    assert not path.exists()


def test_what_the_disk_refuses_ends_the_recording_with_its_reason(path: Path) -> None:
    snapshots = history(3)
    with Recorder(path, ROOM) as recorder:
        recorder.append(snapshots[0], HEADER)
        recorder.append(snapshots[1], HEADER)
        pages = recorder._pragma("page_count")
        recorder._sql(f"PRAGMA max_page_count = {pages}")  # SQLITE_FULL, as from a disk without room
        with pytest.raises(RecordingError, match="database or disk is full; it keeps what was recorded before"):
            recorder.append(large(snapshots[2]), HEADER)
    assert load(path).snapshots == tuple(snapshots[:2])
