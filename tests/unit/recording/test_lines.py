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
    saved.write_bytes(saved.read_bytes().replace(b'"type":"sockets"', b'"type":"hearsay"', 1))
    assert "hearsay" in refusal(saved)


@pytest.mark.parametrize("at", [
    '{"wall": "0001-01-01T00:00:00Z", "boot_seconds": 5}',
    '{"wall": "9999-12-31T23:59:59-12:00", "boot_seconds": 5}',
    '{"wall": "2026-03-01T12:00:00Z", "boot_seconds": 1e300}',
    '{"wall": "2026-03-01T12:00:00Z", "boot_seconds": -1}',
])  # fmt: skip
def test_a_time_that_no_clock_shows_is_refused(saved: Path, at: str) -> None:
    header = saved.read_bytes().splitlines()[0].replace(b'"snapshots":3', b'"snapshots":1')
    saved.write_bytes(header + f'\n{{"at": {at}, "samples": {{}}}}\n'.encode())
    assert refusal(saved) == f"{saved} is damaged: a snapshot has an impossible time"


def test_a_time_without_a_zone_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b"123456Z", b"123456", 1))
    assert refusal(saved).endswith("Expected `datetime` with a timezone component - at `$.at.wall`")


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


MEMORY = {
    "type": "tcp_memory", "page_size_bytes": 4096, "cpus": 2, "used_pages": 9, "orphans": 0, "alloc_sockets": 3,
    "inuse_sockets": 3, "time_wait_sockets": 0,
}  # fmt: skip
GROUP = {
    "netns": None, "protocol": "tcp", "state": "close-wait", "role": "accepted", "holding": "descriptor", "sockets": 1,
}  # fmt: skip
SOCKETS = {"type": "sockets", "method": "bpf", "groups": [GROUP]}


def process(**fields: object) -> dict[str, object]:
    return {"type": "workloads", "by_pid": {"7": {"process": {"pid": 7, "comm": "x"} | fields}}}


def with_samples(path: Path, samples: dict[str, object]) -> Path:
    header = {"schema": SCHEMA, "node": {"hostname": "n1", "kernel": "6.1.0", "boot_id": "b00t"}}
    snapshot = {"at": {"wall": "2026-03-01T12:00:00Z", "boot_seconds": 5}, "samples": samples}
    path.write_text(f"{json.dumps(header)}\n{json.dumps(snapshot)}\n")
    return path


HUGE = int("9" * 400)


@pytest.mark.parametrize(
    ("name", "sample", "place"),
    [
        ("tcp_memory", MEMORY | {"page_size_bytes": 0}, "page_size_bytes"),
        ("tcp_memory", MEMORY | {"page_size_bytes": -4096}, "page_size_bytes"),
        ("tcp_memory", MEMORY | {"cpus": 0}, "cpus"),
        ("tcp_memory", MEMORY | {"used_pages": HUGE}, "used_pages"),
        ("tcp_memory", MEMORY | {"used_pages": -HUGE}, "used_pages"),
        ("tcp_memory", MEMORY | {"max_pages": -1}, "max_pages"),
        ("tcp_memory", MEMORY | {"max_pages": 2**64}, "more than a kernel can hold"),
        ("tcp_memory", MEMORY | {"low_pages": HUGE}, "more than a kernel can hold"),
        ("tcp_memory", MEMORY | {"counters": {"1": {"TCPRcvQDrop": HUGE}}}, "counters"),
        ("tcp_memory", MEMORY | {"counters": {"-1": {}}}, "counters"),
        ("sockets", SOCKETS | {"page_size_bytes": 0}, "page_size_bytes"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"ages": [1] * 13}]}, "ages"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"ages": [-1]}]}, "ages"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"sockets": -1}]}, "sockets"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"memory_bytes": HUGE}]}, "memory_bytes"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"owner_pid": -7}]}, "owner_pid"),
        ("sockets", SOCKETS | {"groups": [GROUP | {"endpoint": {"address": None, "port": 65_536}}]}, "port"),
        ("sockets", SOCKETS | {"longest_step_seconds": 1e300}, "longest_step_seconds"),
        ("kernel_log", {"type": "kernel_log", "source": "x", "reaches_back_seconds": 1e300}, "reaches_back_seconds"),
        ("workloads", process(pid=-7), "pid"),
        ("workloads", process(descriptor_limit=HUGE), "descriptor_limit"),
        ("workloads", process(started="2026-03-01T12:00:00"), "started"),
        ("workloads", process(started="9999-12-31T23:59:59-12:00"), "an impossible start"),
        ("workloads", process(started="0001-01-01T00:00:00+14:00"), "an impossible start"),
    ],
)  # fmt: skip
def test_what_no_node_can_show_is_refused_with_its_place(
    path: Path, name: str, sample: dict[str, object], place: str
) -> None:
    with_samples(path, {name: sample})
    said = refusal(path)
    assert said.startswith(f"{path} is damaged: ")
    assert place in said


def test_what_a_kernel_can_show_is_taken_up_to_its_last_bit(path: Path) -> None:
    """tcp_mem is as an administrator set it, and memory may be below zero while it is read."""
    memory = MEMORY | {
        "max_pages": 2**64 - 1, "low_pages": 0, "max_orphans": -1, "used_pages": -5, "page_size_bytes": 65_536,
    }  # fmt: skip
    group = GROUP | {"memory_bytes": -768, "ages": [2**32 - 1] * 12, "cgroup_id": 2**63 - 1}
    started = process(started="9999-12-31T23:59:59Z")
    load(with_samples(path, {"tcp_memory": memory, "sockets": SOCKETS | {"groups": [group]}, "workloads": started}))


@pytest.mark.parametrize("name", ["tcp_memory", "kernel_log", "anything"])
def test_a_sample_under_the_name_of_another_collector_is_refused(path: Path, name: str) -> None:
    said = refusal(with_samples(path, {name: SOCKETS}))
    assert said == f"{path} is damaged: the sample called {name} is one of sockets"


def test_a_failure_may_have_the_name_of_any_collector(path: Path) -> None:
    failure = {"type": "failure", "code": "unreadable", "reason": "gone"}
    found = load(with_samples(path, {"tcp_memory": failure, "later": failure}))
    assert set(found.snapshots[0].samples) == {"tcp_memory", "later"}


# --- Defects that were reported ----------------------------------------------------------------------------------


def test_a_newer_schema_is_told_although_its_header_looks_otherwise(path: Path) -> None:
    path.write_text('{"schema": "whodunnet/recording/v2", "machine": {}}\n{}\n')
    assert "whodunnet/recording/v2" in refusal(path)
