"""What of a recording is read: times, boots, how many; and files that are foreign, cut, damaged or of the future."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import RecordingError
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Snapshot
from whodunnet.recording import reader
from whodunnet.recording.choice import STALLED_PART, choose, follows, unfollowed
from whodunnet.recording.header import Header
from whodunnet.recording.reader import load, open_recording
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.source import Row

from ..recording.written import OTHERS_FILE, plant
from ..rules import nodes, stalled
from ..rules.nodes import BEGIN, NODE, group, moment


def recorded(path: Path, count: int = 10) -> Path:
    """A second from snapshot to snapshot."""
    moments = [[group("response-never-read", 10 + n, age=60, memory=10**6)] for n in range(count)]
    with Recorder(path, 10**8) as recorder:
        for snapshot in nodes.recording(moments, seconds=count - 1.0).snapshots:
            recorder.append(snapshot, Header(node=NODE))
    return path


@cache
def four_snapshots() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return recorded(Path(folder) / "case", 4).read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorded(tmp_path / "case")


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        load(path)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [(None, None, 10), (3, None, 7), (None, 3, 4), (2, 5, 4), (2.5, 2.9, 0), (9, 100, 1), (-5, 0, 1), (20, 30, 0)],
)
def test_a_part_is_what_lies_between_two_times_both_included(path: Path, start: float, end: float, kept: int) -> None:
    times = [None if t is None else BEGIN + timedelta(seconds=t) for t in (start, end)]
    with open_recording(path) as stored:
        assert len(list(stored.snapshots(*times))) == kept
        if kept:
            assert len(stored.recording(*times).snapshots) == kept
        else:
            with pytest.raises(RecordingError, match="no snapshot between those times; it reaches from 2026-03-01T12"):
                stored.recording(*times)


def test_of_a_long_recording_as_many_are_judged_as_a_live_window_has(path: Path) -> None:
    long = recorded(path.with_name("long"), 200)
    with open_recording(long) as stored:
        found = stored.recording()
        assert (len(stored), found.seconds) == (200, 199)
        assert 55 <= len(found.snapshots) <= 61
        assert found.notes[0].startswith(f"{len(found.snapshots)} of 200 snapshots were judged, spread over the time")
        assert stored.recording(start=stored.end - timedelta(seconds=30)).notes == ()
    assert len(load(long).snapshots) == 200


def rows_at(seconds: list[int]) -> list[Row]:
    return [Row(0, moment(at), n) for n, at in enumerate(seconds)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400, unique=True).map(sorted), st.integers(3, 80))
def test_whatever_is_chosen_has_both_ends_and_no_snapshot_twice(seconds: list[int], at_most: int) -> None:
    chosen = [row.number for row in choose(rows_at(seconds), at_most)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= at_most
    assert (chosen[0], chosen[-1]) == (0, len(seconds) - 1)
    assert len(seconds) <= at_most or {chosen[-1] - 1} <= set(chosen)


def test_what_is_chosen_is_spread_over_the_time_and_not_over_the_snapshots() -> None:
    """The older half of a recording that was thinned has few."""
    seconds = [*range(0, 10_000, 500), *range(10_000, 20_000)]
    chosen = [seconds[row.number] for row in choose(rows_at(seconds), 61)]
    assert 18 <= sum(at < 10_000 for at in chosen) <= 42
    assert len(chosen) > 45


def test_most_of_what_is_chosen_follows_what_was_chosen_before_it() -> None:
    rows = choose(rows_at(list(range(5_000))), 61)
    assert sum(follows(a, b) for a, b in pairwise(rows)) >= 29
    assert follows(*rows[-2:])


def test_the_snapshot_with_the_most_memory_is_always_judged() -> None:
    rows = [replace(row, used_pages=9_000 if row.number == 2_345 else 500) for row in rows_at(list(range(5_000)))]
    assert 2_345 in {row.number for row in choose(rows, 61)}


def test_the_snapshot_with_the_fullest_conntrack_table_is_always_judged_too() -> None:
    rows = [
        replace(row, used_pages=row.number == 7, tracked=row.number == 2_345) for row in rows_at(list(range(5_000)))
    ]
    for at_most in (3, 4, 61):
        chosen = {row.number for row in choose(rows, at_most)}
        assert {7, 2_345, 4_999} <= chosen
        assert len(chosen) <= at_most


def test_snapshots_with_the_longest_stalls_are_judged_with_those_before_them() -> None:
    stalls = {50 * n: 1_000 * n for n in range(1, 90)}
    rows = [replace(row, waited_us=stalls.get(row.number, 0)) for row in rows_at(list(range(5_000)))]
    chosen = {row.number for row in choose(rows, 61)}
    longest = sorted(stalls, key=lambda number: -stalls[number])[: (61 - 3) // STALLED_PART]
    assert {*longest, *(number - 1 for number in longest)} <= chosen
    assert len(chosen) <= 61
    assert max(b - a for a, b in pairwise(sorted(chosen))) < 500  # the others are spread over all of the time


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=300),
    st.integers(3, 80),
)
def test_whatever_is_full_or_stalls_both_ends_are_judged_and_no_more_than_wanted(
    numbers: list[tuple[int, int, int]], at_most: int
) -> None:
    rows = [
        replace(row, used_pages=used, tracked=tracked, waited_us=waited)
        for row, (used, tracked, waited) in zip(rows_at(list(range(len(numbers)))), numbers, strict=True)
    ]
    chosen = [row.number for row in choose(rows, at_most)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= at_most
    assert chosen[-1] == len(rows) - 1
    for name in ("used_pages", "tracked"):
        assert max(getattr(rows[n], name) for n in chosen) == max(getattr(row, name) for row in rows)
    if at_most >= 3 + STALLED_PART:
        assert max(rows[n].waited_us or 0 for n in chosen) == max(row.waited_us or 0 for row in rows)


def test_a_stall_of_a_long_recording_is_judged(tmp_path: Path) -> None:
    """One of 400 snapshots has it, and is far from those that an even choice takes."""
    quiet = stalled.sample(seconds=0.0, cpus=())
    with Recorder(tmp_path / "case", 10**8) as recorder:
        for n in range(400):
            here = (stalled.stall(stalled.held(stalled.MONITOR, 37)),) if n == 243 else ()
            sample = replace(quiet, stalls=here, watched_seconds=float(n))
            recorder.append(Snapshot(at=moment(n), samples={"stalls": sample}), Header(node=NODE))
    with open_recording(tmp_path / "case") as stored:
        recording = stored.recording()
    assert len(recording.snapshots) <= 61
    (found,) = diagnose(recording, ["rx-stall"]).findings
    assert found.shape == "syscall-hog"


def leaking(path: Path, *counts: list[int]) -> None:
    """One run of a recorder for each list: how many sockets leak at each snapshot, a second apart."""
    begin = 0
    for numbers in counts:
        node = nodes.leak("response-never-read", numbers, seconds=len(numbers) - 1.0, each=40_000, age=60)
        with Recorder(path, 10**8) as recorder:
            for n, snapshot in enumerate(node.snapshots):
                recorder.append(replace(snapshot, at=moment(begin + n)), Header(node=NODE))
        begin += len(numbers)


def judged(path: Path) -> Finding:
    with open_recording(path) as stored:
        (found,) = diagnose(stored.recording(), ["socket-leak"]).findings
    return found


def test_a_leak_goes_on_where_a_recording_was_continued(tmp_path: Path) -> None:
    """The first snapshot of a run compares with none before it."""
    leaking(tmp_path / "case", [50, 60, 70], [80, 90, 100])
    assert judged(tmp_path / "case").confidence == "proven"


def test_large_snapshots_are_judged_in_smaller_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES_MAX", 2_500)
    with open_recording(path) as stored:
        found = stored.recording()
    assert 3 <= len(found.snapshots) < 10
    assert found.snapshots[-1].at == load(path).snapshots[-1].at
    assert "of 10 snapshots were judged" in found.notes[0]


def test_no_evidence_counts_more_than_there_were_before(tmp_path: Path) -> None:
    leaking(tmp_path / "case", list(range(100, 700)))
    for evidence in judged(tmp_path / "case").evidence:
        if "since the snapshot before" in evidence.statement:
            assert evidence.value == evidence.limit == 698


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    assert refusal(path) == f"{path} is a database, but no recording of whodunnet"


def test_a_newer_layout_is_refused_before_anything_else_is_read(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE run")
        connection.execute("PRAGMA user_version = 2")
    assert "has layout 2, which is newer than this version of whodunnet reads (1)" in refusal(path)


def test_a_newer_schema_is_refused_with_the_version_that_made_it(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE run SET header = '{"schema": "whodunnet/recording/v2", "tool": "9.1"}'""")
    assert "has schema whodunnet/recording/v2" in refusal(path)
    assert refusal(path).endswith("judge it with whodunnet 9.1 or a newer one")


def test_a_sample_that_only_a_later_version_knows_is_refused(path: Path) -> None:
    from whodunnet.recording.frame import pack

    text = b'{"at":{"wall":"2026-03-01T12:00:00Z","boot_seconds":1},"samples":{"x":{"type":"of-the-future"}}}'
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE snapshot SET key = NULL, data = ? WHERE id = 10", (pack(text, None),))
    assert "of-the-future" in refusal(path)


@pytest.mark.parametrize("statement", [
    "DELETE FROM snapshot WHERE id = 1",
    "UPDATE snapshot SET data = x'28b52ffd' WHERE id = 4",
    "UPDATE snapshot SET data = 'text' WHERE id = 4",
    "UPDATE snapshot SET key = 2 WHERE id = 4",
    "UPDATE snapshot SET run = 7 WHERE id = 4",
    "UPDATE snapshot SET wall = 'noon' WHERE id = 4",
    "UPDATE snapshot SET wall = 9e99 WHERE id = 4",
    "UPDATE snapshot SET wall = -6e10 WHERE id = 10",
    "UPDATE snapshot SET boot_seconds = 9e999 WHERE id = 10",
    f"UPDATE run SET header = '{'[' * 5000}'",
    "UPDATE run SET header = 'x'",
    "DELETE FROM run",
    "DROP TABLE snapshot",
])  # fmt: skip
def test_what_does_not_fit_together_is_refused(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = 0")
        connection.execute(statement)
    assert "is no recording of whodunnet, or is damaged" in refusal(path)


def test_a_recording_without_snapshots_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM snapshot")
    assert refusal(path) == f"{path} holds no snapshot"


@pytest.mark.parametrize("statements", [
    ("ALTER TABLE snapshot RENAME TO real", "CREATE VIEW snapshot AS SELECT * FROM real"),
    ("CREATE TRIGGER t AFTER INSERT ON snapshot BEGIN DELETE FROM snapshot; END",),
    ("ALTER TABLE snapshot ADD COLUMN more TEXT AS (hex(data))",),
    ("CREATE TABLE more (x)",),
])  # fmt: skip
def test_a_recording_in_which_there_is_more_than_its_tables_is_refused(path: Path, statements: tuple[str, ...]) -> None:
    """A view may have rows without end."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    assert refusal(path).endswith("is no recording of whodunnet, or is damaged: it has other tables")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    assert refusal(path) == f"{path} cannot be read: it is a pipe or device, no file"


@OTHERS_FILE
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_another_user_put_beside_a_recording_is_not_taken_for_a_part_of_it(path: Path, suffix: str) -> None:
    """In /var/tmp anybody may make a file; SQLite would read it as newer than the recording, and write into it."""
    planted = plant(path, suffix)
    assert refusal(path) == f"{planted} belongs to another user and would be taken for a part of {path.name}"
    assert len(load(recorded(path.with_name("other"))).snapshots) == 10


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_file_with_any_bytes_changed_is_read_as_it_was_or_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case"
        whole = bytearray(four_snapshots())
        path.write_bytes(whole)
        before = load(path)
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        said = ""
        try:
            found = load(path)
        except RecordingError as error:
            said = str(error)
        else:
            known = {s.at.boot_seconds: s for s in before.snapshots}
            assert all(s in (known[s.at.boot_seconds], unfollowed(known[s.at.boot_seconds])) for s in found.snapshots)
        assert said.isprintable()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_file_that_was_cut_is_read_as_far_as_it_is_whole_or_refused(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, whole = Path(folder) / "case", four_snapshots()
        path.write_bytes(whole[: cut % len(whole)])
        assert refusal(path)


def test_a_recording_is_read_where_nothing_may_be_written(path: Path) -> None:
    """As from a mounted image; root is stopped by the file system only, so this one is read as it would be there."""
    from whodunnet.recording import database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.os, "access", lambda *_: False)
        assert len(load(path).snapshots) == 10
    assert [p.name for p in path.parent.iterdir()] == ["case"]
