"""whodunnet record: when it takes its snapshots, and how it ends."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from whodunnet.cli import main, record
from whodunnet.cli.ending import ENDING
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.recording.header import header_of
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder

NODE = load(Path(__file__).parents[2] / "fixtures/nodes/incident-1-tcp-memory/recording.jsonl")


@pytest.mark.parametrize("ending", ENDING)
def test_a_signal_that_comes_with_the_last_snapshot_leaves_a_whole_recording(
    ending: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from `timeout 60 whodunnet record FILE --for 60s`: it is over by itself, and nothing is left to end."""
    path = tmp_path / "case"

    def keep(recorder: Recorder, *_: object) -> int:
        signal.pthread_kill(threading.get_ident(), ending)
        recorder.append(NODE.snapshots[0], header_of(NODE))
        return 1

    monkeypatch.setattr(record, "keep", keep)
    monkeypatch.setattr(sys, "argv", ["whodunnet", "record", str(path), "--no-bpf"])
    with pytest.raises(SystemExit) as done:
        main.run()
    assert done.value.code in (0, None)
    assert "Recorded 1 snapshot: " in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["case"]
    assert len(load(path).snapshots) == 1
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(ENDING)


class Busy:
    """A watch, its clock and its recorder: nothing takes any time but waiting, and CPU time is what is said here."""

    recording: Recording = NODE

    def __init__(self, attaching: float, each: float) -> None:
        self.boot, self.cpu, self.attaching, self.each = 100.0, 0.0, attaching, each
        self.kept: list[float] = []

    def start(self) -> None:
        self.cpu, self.attaching = self.cpu + self.attaching, 0.0

    def take(self) -> Snapshot:
        self.start()
        self.cpu += self.each
        self.kept.append(round(self.boot - 100.0, 3))
        return NODE.snapshots[0]

    def append(self, *_: object) -> None:
        pass

    def wait(self, _: object, seconds: float) -> None:
        self.boot += seconds


def kept(monkeypatch: pytest.MonkeyPatch, every: float, seconds: float, attaching: float, each: float) -> list[float]:
    """After how many seconds there are snapshots."""
    busy = Busy(attaching, each)
    monkeypatch.setattr(record, "boot_seconds", lambda: busy.boot)
    monkeypatch.setattr(record.time, "process_time", lambda: busy.cpu)
    monkeypatch.setattr(record.signal, "sigtimedwait", busy.wait)
    assert record.keep(busy, busy, every, seconds, None) == len(busy.kept)  # type: ignore[arg-type]
    return busy.kept


def test_snapshots_are_as_far_apart_as_was_asked_for_or_as_they_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, 1.0, 4.0, 0.0, 0.05) == [0, 1, 2, 3, 4]
    assert kept(monkeypatch, 1.0, 8.0, 0.0, 0.3) == [0, 3, 6, 8]


def test_to_attach_what_watches_is_no_part_of_what_a_snapshot_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done once, and would leave a recording of seconds with two readings."""
    assert kept(monkeypatch, 1.0, 4.0, 0.6, 0.05) == [0, 1, 2, 3, 4]


def test_where_fewer_than_four_come_in_time_it_goes_on_for_three_times_as_long_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert kept(monkeypatch, 1.0, 8.0, 0.0, 0.5) == [0, 5, 8, 13]
    assert kept(monkeypatch, 1.0, 8.0, 0.0, 1.0) == [0, 8, 18, 24]
    assert kept(monkeypatch, 1.0, 8.0, 0.0, 3.0) == [0, 8, 24]
    assert kept(monkeypatch, 4.0, 8.0, 0.0, 0.5) == [0, 5, 8]
    assert kept(monkeypatch, 10.0, 8.0, 0.0, 0.5) == [0, 8]
    assert kept(monkeypatch, 1.0, 0.0, 0.0, 0.5) == [0]
