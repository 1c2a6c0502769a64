"""A recording that is being written: what it holds, whose it is, and what is left when its recorder is killed."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from whodunnet.errors import RecordingError
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Recording
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.recording.choice import unfollowed
from whodunnet.recording.database import Database
from whodunnet.recording.header import header_of
from whodunnet.recording.lines import Lines, save
from whodunnet.recording.peak import used_pages
from whodunnet.recording.reader import load, open_recording
from whodunnet.recording.recorder import FRAMES_PER_KEY, Recorder
from whodunnet.recording.source import Source

from ..recording.arbitrary import recording
from ..recording.history import HEADER, ROOM, history
from ..recording.written import refusal, write
from ..rules.nodes import NODE


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
