"""A recording that is being written: what it holds, whose it is, and what is left when its recorder is killed."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from whodunnet.errors import RecordingError
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.recording import database
from whodunnet.recording import recorder as module
from whodunnet.recording.choice import unfollowed
from whodunnet.recording.database import BUSY_SECONDS, Database
from whodunnet.recording.header import Header, header_of
from whodunnet.recording.lines import Lines, save
from whodunnet.recording.peak import used_pages
from whodunnet.recording.reader import load, open_recording
from whodunnet.recording.recorder import FRAMES_PER_KEY, Recorder
from whodunnet.recording.source import Source

from ..recording.arbitrary import recording
from ..recording.history import HEADER, ROOM, history
from ..rules.nodes import NODE, group


def write(path: Path, snapshots: list[Snapshot], header: Header = HEADER, room: int = ROOM) -> None:
    with Recorder(path, room) as recorder:
        for snapshot in snapshots:
            recorder.append(snapshot, header)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "case"


def large(snapshot: Snapshot) -> Snapshot:
    """The same with 4,000 groups that have nothing in common."""
    dice = random.Random(1)
    groups = tuple(group("held-open", dice.randrange(10**9), pid=dice.randrange(10**6)) for _ in range(4_000))
    return replace(snapshot, samples={"sockets": Sockets(method="bpf", groups=groups)})


def refusal(path: Path, snapshots: list[Snapshot], header: Header = HEADER) -> str:
    with pytest.raises(RecordingError) as caught:
        write(path, snapshots, header)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    return said


@settings(max_examples=40, deadline=None)
@given(recording)
def test_both_forms_hold_the_same_samples(found: Recording) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines, database = Path(folder) / "lines", Path(folder) / "database"
        save(found, lines)
        write(database, list(found.snapshots), header_of(found))
        assert load(database) == load(lines) == found


def test_a_recording_longer_than_a_key_frame_lasts_comes_back(path: Path) -> None:
    snapshots = history(2 * FRAMES_PER_KEY + 3)
    write(path, snapshots)
    assert load(path).snapshots == tuple(snapshots)
    with sqlite3.connect(path) as connection:
        (keys,) = connection.execute("SELECT count(*) FROM snapshot WHERE key IS NULL").fetchone()
    assert keys == 3


def test_a_recording_that_ended_is_one_file_that_only_its_owner_reads(path: Path) -> None:
    write(path, history(3))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_snapshot_is_in_the_file_itself_as_soon_as_it_is_stored(path: Path, tmp_path: Path) -> None:
    """Somebody copies the file alone, while it is written."""
    with Recorder(path, ROOM) as recorder:
        for count, snapshot in enumerate(history(5), start=1):
            recorder.append(snapshot, HEADER)
            copy = tmp_path / "copy"
            copy.write_bytes(path.read_bytes())
            assert len(load(copy).snapshots) == count


def test_the_cost_is_that_of_the_last_snapshot(path: Path) -> None:
    with Recorder(path, ROOM) as recorder:
        for n, snapshot in enumerate(history(3)):
            recorder.append(snapshot, replace(HEADER, cpu_seconds=float(n), peak_rss_bytes=100 + n))
    assert (load(path).cpu_seconds, load(path).peak_rss_bytes) == (2.0, 102)


def test_a_recording_is_continued_by_the_next_run(path: Path) -> None:
    snapshots = history(6)
    write(path, snapshots[:3], replace(HEADER, cpu_seconds=1.0))
    write(path, snapshots[3:], replace(HEADER, cpu_seconds=2.0))
    assert load(path).snapshots == (*snapshots[:3], unfollowed(snapshots[3]), *snapshots[4:])
    assert load(path).cpu_seconds == 3.0


def test_after_a_reboot_the_newest_boot_is_judged_and_the_reader_is_told(path: Path) -> None:
    before = history(4)
    later = timedelta(hours=1)
    after = [replace(s, at=replace(s.at, wall=s.at.wall + later, boot_seconds=s.at.boot_seconds - 4_990))
             for s in before]  # fmt: skip
    write(path, before)
    write(path, after[:2], replace(HEADER, node=replace(NODE, boot_id="another")))
    with open_recording(path) as stored:
        newest, first = stored.recording(), stored.recording(end=before[-1].at.wall)
        assert [n.boot_id for n, _ in stored.snapshots()] == ["b00t"] * 4 + ["another"] * 2
    assert newest.snapshots == tuple(after[:2])
    assert newest.seconds > 0
    assert "rebooted within the recording" in newest.notes[0]
    assert "(2 of 6 snapshots)" in newest.notes[0]
    assert first.snapshots == tuple(before)
    assert first.notes == ()


def test_another_node_s_recording_is_not_continued(path: Path) -> None:
    write(path, history(1))
    other = replace(HEADER, node=replace(NODE, hostname="n2"))
    assert refusal(path, history(1), other) == f"{path} is a recording of n1; choose another file"


@pytest.mark.parametrize("first", [True, False])
def test_pseudonyms_of_two_runs_never_meet_in_one_file(path: Path, first: bool) -> None:
    write(path, history(1), replace(HEADER, redacted=first))
    assert "needs a new file" in refusal(path, history(1), replace(HEADER, redacted=True))
    assert len(load(path).snapshots) == 1


@pytest.mark.parametrize("content", [b"hello\n", b"SQLite format 2\0", b"\0" * 4096])
def test_a_foreign_file_is_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "exists and is no recording of whodunnet" in refusal(path, history(1))
    assert path.read_bytes() == content


def test_another_program_s_database_is_not_touched(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    assert "is a database, but no recording of whodunnet" in refusal(path, history(1))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_user_s_file_is_not_continued(path: Path) -> None:
    write(path, history(1))
    os.chown(path, 65534, 65534)
    assert "belongs to another user" in refusal(path, history(1))


def test_no_link_is_followed_to_a_new_place(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    assert "cannot be written: File exists" in refusal(path, history(1))
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_a_recorder_left_empty_is_filled(path: Path) -> None:
    path.touch()
    write(path, history(2))
    assert load(path).snapshots == tuple(history(2))


@pytest.fixture(params=["no O_TMPFILE", "neither that nor links"])
def poor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot do everything."""
    real = os.open

    def no_link(_: object, new: Path) -> None:
        number = errno.EEXIST if new.exists() else errno.EPERM
        raise OSError(number, os.strerror(number))

    def unnamed(path: str, flags: int, *more: int, **by_name: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *more, **by_name)

    monkeypatch.setattr(os, "open", unnamed)
    if request.param != "no O_TMPFILE":
        monkeypatch.setattr(os, "link", no_link)


@pytest.mark.usefixtures("poor")
def test_a_poor_file_system_gets_the_same_file(path: Path) -> None:
    write(path, history(3))
    assert load(path).snapshots == tuple(history(3))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("poor")
def test_on_a_poor_file_system_a_file_that_is_faster_is_not_overwritten(path: Path) -> None:
    with Recorder(path, ROOM) as recorder:
        path.write_text("another's")
        with pytest.raises(RecordingError, match="cannot be written: File exists"):
            recorder.append(history(1)[0], HEADER)
    assert path.read_text() == "another's"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("poor")
def test_on_a_poor_file_system_what_cannot_be_written_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        assert not path.exists()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refusal(path, history(1))
    assert list(path.parent.iterdir()) == []


def test_each_row_says_how_many_pages_its_snapshot_saw(path: Path, tmp_path: Path) -> None:
    snapshots = history(3)
    memory = TcpMemory(page_size_bytes=4096, cpus=2, used_pages=77, orphans=0, alloc_sockets=0, inuse_sockets=0,
                       time_wait_sockets=0)  # fmt: skip
    snapshots = [snapshots[0], *(replace(s, samples={**s.samples, "tcp_memory": memory}) for s in snapshots[1:])]
    found = Recording(node=NODE, snapshots=tuple(snapshots))
    write(path, snapshots)
    save(found, tmp_path / "lines")
    sources: list[Source] = [Database(path), Lines(tmp_path / "lines")]
    for source in sources:
        assert [row.used_pages for row in source.rows] == [source.rows[0].used_pages, 77, 77]
        source.close()
    assert sources[0].rows[0].used_pages == sources[1].rows[0].used_pages == used_pages(snapshots[0])


def test_a_snapshot_without_memory_has_no_number_of_pages(path: Path) -> None:
    write(path, [replace(history(1)[0], samples={})])
    source = Database(path)
    source.close()
    assert [row.used_pages for row in source.rows] == [None]


def test_each_row_says_how_many_tracked_connections_the_fullest_namespace_of_its_snapshot_had(
    path: Path, tmp_path: Path
) -> None:
    """Each namespace is compared with the limit for itself."""
    tables = [
        Conntrack(loaded=True, count=5, counts={7: 5, 8: 70}),
        Conntrack(loaded=True, count=90),
        Conntrack(loaded=False),
    ]
    snapshots = [replace(s, samples={**s.samples, "conntrack": t}) for s, t in zip(history(3), tables, strict=True)]
    write(path, snapshots)
    save(Recording(node=NODE, snapshots=tuple(snapshots)), tmp_path / "lines")
    sources: list[Source] = [Database(path), Lines(tmp_path / "lines")]
    for source in sources:
        assert [row.tracked for row in source.rows] == [70, 90, None]
        source.close()


@pytest.mark.parametrize("column", ["used_pages", "tracked", "waited_us"])
def test_a_number_of_pages_that_is_none_is_damage(path: Path, column: str) -> None:
    write(path, history(2))
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE snapshot SET {column} = 'many' WHERE id = 2")
    with pytest.raises(RecordingError, match="or of microseconds is none"):
        load(path)


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_nothing_is_written_into_what_another_user_put_beside(path: Path, suffix: str) -> None:
    planted = path.with_name(path.name + suffix)
    planted.touch()
    os.chown(planted, 65534, 65534)
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
