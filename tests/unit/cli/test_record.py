"""whodunnet record: how it ends."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from whodunnet.cli import main, record
from whodunnet.cli.ending import ENDING
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
