"""whodunnet plot on real recordings of both forms."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from whodunnet.cli.plot import OWNERS_MAX, command
from whodunnet.errors import RecordingError, UsageError
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.recording.header import Header
from whodunnet.recording.recorder import Recorder
from whodunnet.report.chart_plot import OWNERS_MAX as COLOURS_MAX

LINES = Path(__file__).parents[2] / "fixtures" / "nodes" / "incident-4-unclosed-bodies" / "recording.jsonl"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def snapshot(n: int) -> Snapshot:
    group = SocketGroup(
        owner_pid=7, netns=1, protocol="tcp", family=4, state="established", role="initiated", holding="descriptor",
        sockets=n + 1, memory_bytes=4096 * 100 * n,
    )  # fmt: skip
    memory = TcpMemory(
        page_size_bytes=4096, cpus=1, low_pages=4000, pressure_pages=5000, max_pages=6000, used_pages=100 * n + 9,
        orphans=0, alloc_sockets=n + 3, inuse_sockets=1, time_wait_sockets=0,
    )  # fmt: skip
    return Snapshot(
        at=Moment(START + timedelta(seconds=10 * n), 500.0 + 10 * n),
        samples={
            "tcp_memory": memory,
            "sockets": Sockets(method="bpf", groups=(group,)),
            "workloads": Workloads(by_pid={7: Workload(process=Process(pid=7, comm="<script>"))}),
        },
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "case.wdn"
    header = Header(node=Node(hostname="n1", kernel="6.1", boot_id="b1"))
    with Recorder(path, 10_000_000) as recorder:
        for n in range(60):
            recorder.append(snapshot(n), header)
    return path


@pytest.mark.parametrize("what", ["tcp-memory", "sockets"])
def test_the_terminal_is_the_default(what: str) -> None:
    text = run(LINES, "--what", what)
    assert f"TCP {'memory' if what == 'tcp-memory' else 'sockets'} by container on edge-0412" in text
    assert "A" * 50 in text


def test_a_page_is_written_and_names_are_escaped_in_it(database: Path, tmp_path: Path) -> None:
    page = tmp_path / "chart.html"
    assert run(database, "--by", "process", "-o", page) == ""
    text = page.read_text()
    assert "&lt;script&gt; (pid 7)" in text
    assert "<script" not in text


def test_a_picture_is_written_over_an_older_one(database: Path, tmp_path: Path) -> None:
    picture = tmp_path / "chart.PNG"
    picture.write_text("older")
    run(database, "-o", picture)
    with Image.open(picture) as image:
        assert (image.format, image.width) == ("PNG", 1600)


def test_from_and_to_choose_a_part(database: Path) -> None:
    text = run(database, "--from", "12:02", "--to", "-2m")
    assert "2026-03-01 12:02:00 to 12:07:50 UTC" in text


@pytest.mark.parametrize("output", ["chart", "chart.svg", "chart.html.gz", "html", ".png"])
def test_a_form_that_does_not_exist_is_told_the_ones_that_do(database: Path, output: str) -> None:
    with pytest.raises(UsageError, match=r"use FILE\.html, FILE\.png or - for the terminal"):
        run(database, "-o", output)


def test_the_recording_itself_is_never_written_over(database: Path, tmp_path: Path) -> None:
    recording = tmp_path / "case.html"
    shutil.move(database, recording)
    link = tmp_path / "link.png"
    link.hardlink_to(recording)
    for output in (recording, link):
        with pytest.raises(UsageError, match="is the recording itself"):
            run(recording, "-o", output)
    assert "TCP memory" in run(recording)


def test_a_place_that_cannot_be_written_is_an_error_with_the_reason(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        run(database, "-o", tmp_path / "missing" / "x.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        run(database, "-o", tmp_path / "folder.html")


@pytest.mark.parametrize("name", ["chart.html", "chart.png"])
def test_without_room_the_older_chart_stays_and_nothing_else(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=f"{name} cannot be written: No space left on device"):
        run(database, "-o", tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {database.name, name}


def test_times_without_a_snapshot_are_an_error(database: Path) -> None:
    with pytest.raises(UsageError, match="no snapshot in this time"):
        run(database, "--from", "2027-01-01T00:00:00Z")
    with pytest.raises(UsageError, match="--from is later than --to"):
        run(database, "--from", "12:05", "--to", "12:04")


def test_a_foreign_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(b"\x00\xff" * 500)
    for file in (path, tmp_path / "missing"):
        with pytest.raises(RecordingError):
            run(file)


def test_there_is_a_colour_for_each_owner_that_can_be_asked_for(database: Path) -> None:
    assert OWNERS_MAX == COLOURS_MAX
    with pytest.raises(click.BadParameter):
        run(database, "--top", OWNERS_MAX + 1)
