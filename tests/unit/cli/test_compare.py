"""whodunnet compare on recordings as the recorder writes them, and on JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from whodunnet.cli import main
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.recording.header import Header
from whodunnet.recording.lines import save
from whodunnet.recording.recorder import Recorder
from whodunnet.report.schema import schema_of

INCIDENTS = Path(__file__).parents[2] / "fixtures/nodes"
LEAK = INCIDENTS / "incident-4-unclosed-bodies/recording.jsonl"
NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point with arguments: exit status, output, messages."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["whodunnet", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main.run()
        return int(done.value.code or 0), *capsys.readouterr()

    return call


def recorded(path: Path, counts: Sequence[int], **of_node: Any) -> Path:
    """A minute from snapshot to snapshot; a boot of its own, later, for each further call on the same path."""
    node = msgspec.structs.replace(NODE, **of_node)
    later = timedelta(hours=1) if path.exists() else timedelta()
    with Recorder(path, 10**8) as recorder:
        for snapshot in recording_of(counts).snapshots:
            at = msgspec.structs.replace(snapshot.at, wall=snapshot.at.wall + later)
            recorder.append(msgspec.structs.replace(snapshot, at=at), Header(node=node))
    return path


def recording_of(counts: Sequence[int]) -> Recording:
    """One process with so many sockets of a page each."""
    owners = Workloads(by_pid={7: Workload(process=Process(pid=7, comm="app", started=NOON), netns=1)})
    snapshots = []
    for n, count in enumerate(counts):
        at = Moment(wall=NOON + timedelta(minutes=n), boot_seconds=5_000.0 + 60 * n)
        group = SocketGroup(
            owner_pid=7, netns=1, protocol="tcp", state="established", role="initiated", holding="descriptor",
            sockets=count, memory_bytes=count * 4096,
        )  # fmt: skip
        memory = TcpMemory(
            page_size_bytes=4096, cpus=1, used_pages=count, orphans=0, alloc_sockets=count, inuse_sockets=count,
            time_wait_sockets=0,
        )  # fmt: skip
        sockets = Sockets(method="bpf", groups=(group,))
        snapshots.append(Snapshot(at=at, samples={"sockets": sockets, "workloads": owners, "tcp_memory": memory}))
    return Recording(node=NODE, snapshots=tuple(snapshots))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorded(tmp_path / "case", [10, 20, 40, 80])


def compared(run: Run, *arguments: object) -> tuple[str, str, int]:
    """Both times of day, and by how many sockets the owner grew."""
    status, out, err = run(*arguments, "--format", "json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    jsonschema.validate(document, schema_of("comparison"))
    times = (document[side]["at"][11:19] for side in ("before", "after"))
    return *times, sum(row["difference"]["sockets"] for row in document["owners"]["rows"])  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ("12:00:00", "12:03:00", 70)),
        (("--from", "12:01"), ("12:01:00", "12:03:00", 60)),
        (("--from=-2m",), ("12:01:00", "12:03:00", 60)),
        (("--to", "12:01:59"), ("12:00:00", "12:01:00", 10)),
        (("--from", "2026-03-01T12:01:30Z", "--to", "-30s"), ("12:01:00", "12:02:00", 20)),
        (("--to", "2030-01-01"), ("12:00:00", "12:03:00", 70)),
    ],
)
def test_of_one_recording_two_moments_are_compared(run: Run, path: Path, options: Any, expected: Any) -> None:
    assert compared(run, path, *options) == expected


def test_of_two_recordings_the_newest_snapshots_are_compared(run: Run, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    save(recording_of([10, 20, 40, 80, 81]), other)
    assert compared(run, path, other) == ("12:03:00", "12:04:00", 1)


def test_both_forms_of_one_recording_hold_the_same(run: Run, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "same.jsonl"
    save(recording_of([10, 20, 40, 80]), other)
    assert compared(run, path, other) == ("12:03:00", "12:03:00", 0)


def test_a_recording_over_a_reboot_is_compared_across_it(run: Run, path: Path) -> None:
    recorded(path, [5, 7], boot_id="another")
    assert compared(run, path) == ("12:00:00", "13:01:00", -3)
    assert "was booted between them" in run(path)[1].replace("\n             ", " ")


def test_the_text_says_who_grew(run: Run) -> None:
    status, out, err = run(LEAK)
    assert (status, err) == (0, "")
    assert "edge/foo-6c5d8b9f7-q4z8t: foo" in next(line for line in out.splitlines() if line.startswith("Most"))


def test_top_and_by_are_those_of_the_report(run: Run) -> None:
    document = json.loads(run(LEAK, "--by", "process", "--top", "1", "--format", "json")[1])
    assert len(document["owners"]["rows"]) == 1
    assert document["owners"]["rest"]["label"] == "1 others"
    assert document["by"] == "process"


def test_owners_that_cannot_be_compared_are_no_success_and_the_rest_is_shown(run: Run, tmp_path: Path) -> None:
    whole = recording_of([10, 20])
    last = whole.snapshots[-1]
    samples = {**last.samples, "sockets": Failure(code="unreadable", reason="the socket walk was refused")}
    cut = (whole.snapshots[0], Snapshot(at=last.at, samples=samples))
    save(msgspec.structs.replace(whole, snapshots=cut), tmp_path / "case")
    status, out, err = run(tmp_path / "case")
    assert (status, err) == (2, "")
    assert "owners: after: the socket walk was refused" in out
    assert "TCP memory" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "12:03"), "nothing to compare: both moments lead to the snapshot of 2026-03-01T12:03:00Z"),
        (("--from", "12:02", "--to", "12:01"), "give the older one first"),
        (("--from", "2020-01-01"), "it reaches from 2026-03-01T12:00:00Z to 2026-03-01T12:03:00Z"),
        (("--from", "yesterday"), "'yesterday' is no time"),
        (("--by", "colour"), "container"),
        (("--top", "0"), "1<=x<=100000"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(run: Run, path: Path, options: Any, said: str) -> None:
    status, out, err = run(path, *options)
    assert (status, out) == (2, "")
    assert err.startswith("whodunnet: ")
    assert err.count("\n") == 1
    assert said in err


def test_times_and_two_files_contradict_each_other(run: Run, path: Path) -> None:
    assert run(path, path, "--from", "12:01") == (
        2, "", "whodunnet: --from and --to choose two moments of one recording; give one file with them\n",
    )  # fmt: skip


def test_the_older_recording_comes_first(run: Run, path: Path, tmp_path: Path) -> None:
    newer = recorded(tmp_path / "newer", [1, 2, 3, 4, 5])
    assert "give the older one first" in run(newer, path)[2]
    assert compared(run, path, newer)[2] == -75


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"SQLite format 3\0" + b"x" * 200, b'{"schema": "other/v9"}\n'])
def test_a_foreign_file_is_refused_on_either_side(run: Run, path: Path, tmp_path: Path, content: bytes) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(content)
    for arguments in ((foreign,), (foreign, path), (path, foreign)):
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert str(foreign) in err


def test_a_missing_file_is_named(run: Run, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in run(tmp_path / "nowhere")[2]
