"""A recorder that is killed at any moment: the file it leaves, and the next one that goes on with it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder

from ..recording.history import HEADER, ROOM, history


def killed_recorders(path: Path, count: int) -> Iterator[int]:
    """Recorders that write as fast as they can, each killed after some snapshots; how much each was sure of."""
    snapshots = history(400)
    dice = random.Random(count)
    for _ in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with Recorder(path, ROOM) as recorder:
                for snapshot in snapshots:
                    recorder.append(snapshot, HEADER)
                    os.write(writer, b".")
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as told:
            sure = sum(len(told.read(1)) for _ in range(dice.randrange(5)))
            time.sleep(dice.uniform(0, 0.01))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            yield sure + len(told.read())


# The threads that Python 3.12 warns of are those of a worker of pytest; the child has none of them.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_recorder_killed_at_any_moment_loses_at_most_the_snapshot_under_way(tmp_path: Path) -> None:
    for turn, sure in enumerate(killed_recorders(tmp_path / "case", 100)):
        path = tmp_path / "case"
        if not path.exists():
            assert sure == 0
            continue
        found = load(path)
        assert sure <= len(found.snapshots) <= sure + 1, turn
        assert found.snapshots == tuple(history(len(found.snapshots)))
        assert [p.name for p in tmp_path.iterdir()] == ["case"]
        path.unlink()


def test_what_a_killed_recorder_began_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "case"
    total = 0
    for sure in killed_recorders(path, 20):
        now = len(load(path).snapshots) if path.exists() else 0
        assert total + sure <= now <= total + sure + 1
        total = now
    assert total > 20
