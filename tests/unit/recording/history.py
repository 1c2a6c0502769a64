"""A node whose leak grows, to be recorded."""

from __future__ import annotations

from whodunnet.model.snapshot import Snapshot
from whodunnet.recording.header import Header

from ..rules import nodes
from ..rules.nodes import NODE, group

ROOM = 10**8
HEADER = Header(node=NODE)


def history(count: int) -> list[Snapshot]:
    """A node whose leak grows, one snapshot a second."""
    groups = [[group("response-never-read", 10 + n, age=60, memory=10**6)] for n in range(count)]
    return list(nodes.recording(groups, seconds=count - 1.0).snapshots)
