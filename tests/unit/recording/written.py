"""Recordings written at once, and what a recorder says that refuses."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from whodunnet.errors import RecordingError
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.recording.header import Header
from whodunnet.recording.recorder import Recorder

from ..recording.history import HEADER, ROOM
from ..rules.nodes import group


def write(path: Path, snapshots: list[Snapshot], header: Header = HEADER, room: int = ROOM) -> None:
    with Recorder(path, room) as recorder:
        for snapshot in snapshots:
            recorder.append(snapshot, header)


def large(snapshot: Snapshot) -> Snapshot:
    """The same with 4,000 groups that have nothing in common."""
    dice = random.Random(1)
    groups = tuple(group("held-open", dice.randrange(10**9), pid=dice.randrange(10**6)) for _ in range(4_000))
    return replace(snapshot, samples={"sockets": Sockets(method="bpf", groups=groups)})


OTHERS_FILE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def plant(path: Path, suffix: str) -> Path:
    """An empty file of another user's, where SQLite would look for a part of the recording."""
    planted = path.with_name(path.name + suffix)
    planted.touch()
    os.chown(planted, 65534, 65534)
    return planted


def refusal(path: Path, snapshots: list[Snapshot], header: Header = HEADER) -> str:
    with pytest.raises(RecordingError) as caught:
        write(path, snapshots, header)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    return said
