"""Recordings come back as they were saved; whatever else a file holds is refused in a sentence."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whodunnet import __version__
from whodunnet.errors import RecordingError
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.recording import lines
from whodunnet.recording.header import SCHEMA
from whodunnet.recording.lines import save
from whodunnet.recording.reader import load

from ..recording.arbitrary import recording

AT = Moment(datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC), 50.5)
PLAIN = Recording(
    node=Node(hostname="n1", kernel="6.1.0", boot_id="b00t"),
    snapshots=tuple(
        Snapshot(
            at=Moment(AT.wall + timedelta(seconds=i), AT.boot_seconds + i),
            samples={"sockets": Sockets(method="bpf", groups=(), fallback_reason="line\nbreak\u2028and\x85more")},
        )
        for i in range(3)
    ),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.jsonl"


@pytest.fixture
def saved(path: Path) -> Path:
    save(PLAIN, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        load(path)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    return said


@settings(max_examples=40, deadline=None)
@given(recording)
def test_a_recording_comes_back_as_it_was_saved(node: Recording) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.jsonl"
        save(node, path)
        assert load(path) == node


def test_a_recording_is_one_line_for_the_node_and_one_for_each_snapshot(saved: Path) -> None:
    found = [json.loads(line) for line in saved.read_bytes().splitlines()]
    assert len(found) == 4
    assert (found[0]["schema"], found[0]["node"]["hostname"]) == (SCHEMA, "n1")
    assert [line["at"]["boot_seconds"] for line in found[1:]] == [50.5, 51.5, 52.5]


def test_saving_again_replaces_what_was_there(saved: Path) -> None:
    shorter = Recording(node=PLAIN.node, snapshots=PLAIN.snapshots[:1])
    save(shorter, saved)
    assert load(saved) == shorter


def test_fields_that_have_their_default_may_be_left_out(path: Path) -> None:
    header = {"schema": SCHEMA, "node": {"hostname": "n1", "kernel": "6.1.0", "boot_id": "b00t"}}
    snapshot = {"at": {"wall": "2026-03-01T12:00:00Z", "boot_seconds": 5}, "samples": {}}
    path.write_text(f"{json.dumps(header)}\n{json.dumps(snapshot)}\n")
    assert load(path).node == PLAIN.node


def test_fields_that_a_later_version_added_are_passed_over(saved: Path) -> None:
    found = saved.read_bytes().splitlines()
    saved.write_bytes(b"\n".join(b'{"later": [1], ' + line[1:] for line in found))
    assert load(saved) == PLAIN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x00\xff\xfe",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"schema": "whodunnet/diagnosis/v1"}\n',
        b"PK\x03\x04",
    ],
    ids=["empty", "blank", "binary", "text", "list", "object", "another document", "archive"],
)
def test_a_foreign_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    said = refusal(path)
    assert "is no recording of whodunnet, or is damaged" in said or "reads whodunnet/recording/v1" in said


def test_a_recording_without_snapshots_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().splitlines()[0].replace(b'"snapshots":3', b'"snapshots":0') + b"\n")
    assert refusal(saved) == f"{saved} holds no snapshot"


@given(st.integers(1, 10_000))
def test_a_recording_that_was_cut_in_a_line_is_refused(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.jsonl"
        save(PLAIN, path)
        whole = path.read_bytes()
        kept = whole[: -1 - cut % (len(whole) - 2)]
        path.write_bytes(kept)
        if kept == whole.rstrip(b"\n"):
            return  # only the last line's end is missing
        refusal(path)


def test_a_recording_that_was_cut_between_lines_is_refused_with_what_is_there(saved: Path) -> None:
    saved.write_bytes(b"".join(saved.read_bytes().splitlines(keepends=True)[:3]))
    assert refusal(saved) == f"{saved} is cut short: 2 of its 3 snapshots are there"


def test_a_recording_of_a_newer_schema_is_refused_with_both_names(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(SCHEMA.encode(), b"whodunnet/recording/v2", 1))
    assert refusal(saved) == (
        f"{saved} has schema whodunnet/recording/v2; whodunnet {__version__} reads {SCHEMA}: "
        f"judge it with whodunnet {__version__} or a newer one"
    )


def test_a_value_of_the_wrong_type_is_refused_with_its_place(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b'"method":"bpf"', b'"method":"guess"', 1))
    assert "method" in refusal(saved)


def test_a_sample_of_an_unknown_kind_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b'"type":"sockets"', b'"type":"conntrack"', 1))
    assert "conntrack" in refusal(saved)


@pytest.mark.parametrize("at", [
    '{"wall": "2026-03-01T12:00:00", "boot_seconds": 5}',
    '{"wall": "0001-01-01T00:00:00Z", "boot_seconds": 5}',
    '{"wall": "9999-12-31T23:59:59-12:00", "boot_seconds": 5}',
    '{"wall": "2026-03-01T12:00:00Z", "boot_seconds": 1e300}',
    '{"wall": "2026-03-01T12:00:00Z", "boot_seconds": -1}',
])  # fmt: skip
def test_a_time_that_no_clock_shows_is_refused(saved: Path, at: str) -> None:
    header = saved.read_bytes().splitlines()[0].replace(b'"snapshots":3', b'"snapshots":1')
    saved.write_bytes(header + f'\n{{"at": {at}, "samples": {{}}}}\n'.encode())
    assert refusal(saved) == f"{saved} is damaged: a snapshot has an impossible time"


@pytest.mark.parametrize("value", ["[" * 5000, '{"x": {"type": "\\u001b]0;title\\u0007"}}'], ids=["deep", "escape"])
def test_hostile_json_is_refused_in_a_printable_sentence(saved: Path, value: str) -> None:
    header = saved.read_bytes().splitlines()[0]
    saved.write_bytes(header + b'\n{"samples": ' + value.encode() + b"}\n")
    assert "is damaged: " in refusal(saved)


def test_a_file_too_large_for_memory_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BYTES_MAX", saved.stat().st_size)
    assert load(saved) == PLAIN
    monkeypatch.setattr(lines, "BYTES_MAX", saved.stat().st_size - 1)
    assert "is too large for JSON lines" in refusal(saved)


def test_a_file_that_is_not_there_is_named_with_the_reason(path: Path) -> None:
    assert "No such file or directory" in refusal(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be written: No such file or directory"):
        save(PLAIN, tmp_path / "nowhere" / "node.jsonl")


# --- Defects that were reported ----------------------------------------------------------------------------------


def test_a_newer_schema_is_told_although_its_header_looks_otherwise(path: Path) -> None:
    path.write_text('{"schema": "whodunnet/recording/v2", "machine": {}}\n{}\n')
    assert "whodunnet/recording/v2" in refusal(path)
