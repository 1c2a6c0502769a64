"""A recording that has used up its room: the older, the wider apart; and an end where nothing is left to take out."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from whodunnet.errors import RecordingError
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.recording.choice import unfollowed
from whodunnet.recording.header import Header
from whodunnet.recording.reader import load, open_recording
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.thin import KEPT_AT_LEAST

from ..rules import nodes
from ..rules.nodes import NODE, group

HEADER = Header(node=NODE)


def noisy(count: int, groups: int) -> list[Snapshot]:
    """Snapshots that compress badly: each has other numbers."""
    dice = Random(count)
    moments = [[group("held-open", dice.randrange(1, 10**6), pid=p) for p in range(groups)] for _ in range(count)]
    return list(nodes.recording(moments, seconds=count - 1.0).snapshots)


def append_all(recorder: Recorder, snapshots: list[Snapshot]) -> None:
    for snapshot in snapshots:
        recorder.append(snapshot, HEADER)


def test_a_recording_never_grows_beyond_its_room_and_keeps_its_ends(tmp_path: Path) -> None:
    path, snapshots, room = tmp_path / "case", noisy(600, 40), 100_000
    largest = 0
    with Recorder(path, room) as recorder:
        for snapshot in snapshots:
            recorder.append(snapshot, HEADER)
            largest = max(largest, path.stat().st_size)
    kept = [s.at.boot_seconds for s in load(path).snapshots]
    assert largest <= room
    assert recorder.thinned == len(snapshots) - len(kept)
    assert (kept[0], kept[-1]) == (snapshots[0].at.boot_seconds, snapshots[-1].at.boot_seconds)


def test_the_older_the_wider_apart(tmp_path: Path) -> None:
    path = tmp_path / "case"
    with Recorder(path, 100_000) as recorder:
        for snapshot in noisy(600, 40):
            recorder.append(snapshot, HEADER)
    times = [s.at.boot_seconds for s in load(path).snapshots]
    half = times[len(times) // 2]
    assert half - times[0] > 2 * (times[-1] - half)
    assert times[-1] - times[-8] == pytest.approx(7)


def test_what_is_left_after_thinning_is_what_was_recorded(tmp_path: Path) -> None:
    path, snapshots = tmp_path / "case", noisy(400, 40)
    with Recorder(path, 100_000) as recorder:
        for snapshot in snapshots:
            recorder.append(snapshot, HEADER)
    by_time = {s.at.boot_seconds: s for s in snapshots}
    assert all(unfollowed(by_time[s.at.boot_seconds]) == unfollowed(s) for s in load(path).snapshots)


def test_a_recording_ends_early_where_too_few_snapshots_would_be_left(tmp_path: Path) -> None:
    path, snapshots = tmp_path / "case", noisy(60, 3_000)
    with Recorder(path, 50_000) as recorder, pytest.raises(RecordingError, match="give a larger --max-size"):
        append_all(recorder, snapshots)
    assert 0 < len(load(path).snapshots) < 2 * KEPT_AT_LEAST


def test_a_single_snapshot_may_be_larger_than_the_room(tmp_path: Path) -> None:
    """What was seen is kept; the recording ends with the next."""
    path = tmp_path / "case"
    (first, second) = noisy(2, 3_000)
    huge = replace(first, samples={"sockets": Sockets(method="bpf", groups=_groups(3_000))})
    with Recorder(path, 1_000) as recorder:
        recorder.append(huge, HEADER)
        with pytest.raises(RecordingError, match=r"does not fit in 0\.001 MB; give a larger --max-size"):
            recorder.append(second, HEADER)
    assert load(path).snapshots == (huge,)


@pytest.mark.parametrize("peak", [1, 37, 61, 100])
def test_the_most_tcp_memory_of_each_boot_is_never_taken_out(tmp_path: Path, peak: int) -> None:
    """Also where it is a key frame, as the 62nd is."""
    path, snapshots = tmp_path / "case", noisy(500, 40)
    with Recorder(path, 60_000) as recorder:
        for n, snapshot in enumerate(snapshots):
            boot = n // 200
            header = Header(node=replace(NODE, boot_id=f"boot-{boot}"))
            recorder.append(with_memory(snapshot, 5_000 - 1_000 * boot if n % 200 == peak else n), header)
            if n in (199, 399):
                recorder._run += 1
    assert recorder.thinned > 300
    with open_recording(path) as stored:
        kept = [(node.boot_id, s.at.boot_seconds) for node, s in stored.snapshots()]
    peaks = [
        (f"boot-{boot}", snapshots[200 * boot + peak].at.boot_seconds) for boot in range(3) if boot < 2 or peak < 100
    ]
    assert set(peaks) <= set(kept)
    assert kept[0][1] == snapshots[0].at.boot_seconds
    assert kept[-1][1] == snapshots[-1].at.boot_seconds


@pytest.mark.parametrize("peak", [37, 61])
def test_the_fullest_conntrack_table_of_a_boot_is_never_taken_out(tmp_path: Path, peak: int) -> None:
    path, snapshots = tmp_path / "case", noisy(500, 40)
    with Recorder(path, 60_000) as recorder:
        for n, snapshot in enumerate(snapshots):
            table = Conntrack(loaded=True, count=9, counts={7: 5_000 if n == peak else n})
            full = with_memory(snapshot, 5_000 if n == 100 else n)
            recorder.append(replace(full, samples={**full.samples, "conntrack": table}), HEADER)
    assert recorder.thinned > 300
    with open_recording(path) as stored:
        kept = {s.at.boot_seconds for _, s in stored.snapshots()}
        judged = {s.at.boot_seconds for s in stored.recording(at_most=3).snapshots}
    assert {snapshots[n].at.boot_seconds for n in (peak, 100)} <= kept & judged


def test_a_recording_is_thinned_before_it_has_more_snapshots_than_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whodunnet.recording.recorder.ROWS_MAX", 40)
    monkeypatch.setattr("whodunnet.recording.database.ROWS_MAX", 40)
    path, snapshots = tmp_path / "case", noisy(300, 1)
    for begin in (0, 150):
        with Recorder(path, 10**9) as recorder:
            for snapshot in snapshots[begin : begin + 150]:
                recorder.append(snapshot, HEADER)
                with sqlite3.connect(path) as connection:
                    (count,) = connection.execute("SELECT count(*) FROM snapshot").fetchone()
                assert count == recorder._count <= 40
    assert load(path).snapshots[-1] == snapshots[-1]


@pytest.mark.parametrize("table", ["snapshot", "run"])
def test_more_than_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    path = tmp_path / "case"
    with Recorder(path, 10**9) as recorder:
        append_all(recorder, noisy(20, 1))
    monkeypatch.setattr("whodunnet.recording.database.ROWS_MAX", 20)
    assert len(load(path).snapshots) == 20
    columns = "run, key, wall, boot_seconds, used_pages, tracked, waited_us, data"
    copied = {
        "snapshot": f"snapshot SELECT 21, {columns} FROM snapshot WHERE id = 1",
        "run": "run SELECT 1 + snapshot.id, header FROM run, snapshot",
    }
    with sqlite3.connect(path) as connection:
        connection.execute(f"INSERT INTO {copied[table]}")
    with pytest.raises(RecordingError) as caught:
        load(path)
    assert str(caught.value) == f"{path} cannot be read: it holds more than 20 {table}s"


def with_memory(snapshot: Snapshot, pages: int) -> Snapshot:
    memory = TcpMemory(page_size_bytes=4096, cpus=2, used_pages=pages, orphans=0, alloc_sockets=0, inuse_sockets=0,
                       time_wait_sockets=0)  # fmt: skip
    return replace(snapshot, samples={**snapshot.samples, "tcp_memory": memory})


def _groups(count: int) -> tuple:  # type: ignore[type-arg]
    return tuple(group("held-open", n + 1, pid=n) for n in range(count))
