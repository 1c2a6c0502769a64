"""Recordings that somebody else gives us: opened, judged and shown (whodunnet.recording); a diagnosis by itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from fuzz.edits import edited
from fuzz.target import FIXTURES, Target
from whodunnet.cli.lab import parse_diagnosis
from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import RecordingError, UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.snapshot import Recording
from whodunnet.recording.frame import pack, unpack, unpacked_bytes
from whodunnet.recording.header import header_of, parse_header
from whodunnet.recording.reader import load, open_recording
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.redact import Redactor
from whodunnet.recording.source import parse_snapshot
from whodunnet.report.console import make_console
from whodunnet.report.json import render_json
from whodunnet.report.text import render_text
from whodunnet.rules.rule import JUDGES

_CASES: Final = sorted(path.parent.name for path in FIXTURES.glob("nodes/*/recording.jsonl"))
_KEY: Final = b"a key frame, long enough to be one, of a snapshot"
_LINES: Final = 3
"""Header and two snapshots."""
_ROOM_BYTES: Final = 1 << 20


def _lines(case: str) -> list[bytes]:
    lines = (FIXTURES / "nodes" / case / "recording.jsonl").read_bytes().splitlines()
    header = msgspec.json.decode(lines[0])
    header.pop("snapshots", None)
    return [msgspec.json.encode(header), *lines[1:_LINES]]


def _opened(content: bytes) -> Recording:
    with TemporaryDirectory() as place:
        path = Path(place) / "recording"
        path.write_bytes(content)
        with open_recording(path) as stored:
            for _ in stored.snapshots():
                pass
            found = stored.recording()
        load(path)
        return found


def _judge(data: bytes) -> None:
    """The first byte is the recording, the rest what is replaced in it."""
    case = _CASES[data[0] % len(_CASES)] if data else _CASES[0]
    found = _opened(edited(_lines(case), data[1:]))
    _redact(found)
    _render(diagnose(found, list(JUDGES)))


def _render(diagnosis: Diagnosis) -> None:
    render_json(diagnosis)
    render_text(diagnosis, verbose=True, console=make_console(io.StringIO()))


def _diagnosis() -> bytes:
    return render_json(diagnose(load(FIXTURES / "nodes" / _CASES[0] / "recording.jsonl"), list(JUDGES))).encode()


def _show(data: bytes) -> None:
    """What is replaced in a diagnosis."""
    _render(parse_diagnosis(edited([_DIAGNOSIS], data)))


def _redact(recording: Recording) -> None:
    redactor = Redactor(bytes(16))
    redactor.node(recording.node)
    for snapshot in recording.snapshots:
        msgspec.json.encode(redactor.snapshot(snapshot))


def _unpack(data: bytes) -> None:
    unpacked_bytes(data)
    unpack(data, None)


def _database() -> Iterator[bytes]:
    for case in _CASES[:1]:
        with TemporaryDirectory() as place:
            path = Path(place) / "recording"
            recording = load(FIXTURES / "nodes" / case / "recording.jsonl")
            few = [msgspec.structs.replace(s, samples={}) for s in recording.snapshots[:2]]
            with Recorder(path, _ROOM_BYTES << 6) as recorder:
                for snapshot in few:
                    recorder.append(snapshot, header_of(recording))
            yield path.read_bytes()


_DIAGNOSIS: Final = _diagnosis()

TARGETS: Final = (
    Target(name="recordings-header", run=lambda data: parse_header(data, Path("recording")), raises=(RecordingError,),
           seeds=tuple(_lines(case)[0] for case in _CASES), max_bytes=1024),
    Target(name="recordings-snapshot", run=parse_snapshot, raises=(ValueError, RecursionError),
           seeds=tuple(_lines(case)[1] for case in _CASES), max_bytes=32_768),
    Target(name="recordings-frame", run=_unpack, raises=(RecordingError,), seeds=(pack(_KEY, None), pack(b"", None)),
           max_bytes=1024),
    Target(name="recordings-frame-with-key", run=lambda data: unpack(data, _KEY), raises=(RecordingError,),
           seeds=(pack(_KEY + b" and more", _KEY),), max_bytes=1024),
    Target(name="recordings-lines", run=_opened, raises=(RecordingError,), max_bytes=8192,
           seeds=(b"\n".join(_lines("incident-5-keepalive")), b"\n".join(_lines("incident-2-stalls")))),
    Target(name="recordings-database", run=_opened, raises=(RecordingError,), seeds=tuple(_database()),
           max_bytes=16_384, weight=4),
    Target(name="recordings-diagnosis", run=parse_diagnosis, raises=(UsageError,), seeds=(_DIAGNOSIS,)),
    Target(name="recordings-diagnosis-shown", run=_show, raises=(UsageError,), max_bytes=32, weight=4,
           seeds=(b"", bytes(3), *map(bytes.fromhex, ("34351a18c90c", "8679642eea1c")))),
    Target(name="recordings-judged", run=_judge, raises=(RecordingError,), max_bytes=64, weight=16,
           seeds=tuple(bytes([number]) for number in range(len(_CASES)))),
)  # fmt: skip
