"""A node that has no file left for who is not root: whoever cannot accept because of that is a victim."""

from __future__ import annotations

from typing import Final

from whodunnet.model.descriptors import Descriptors
from whodunnet.model.snapshot import Recording

EFFECT: Final = "cannot accept: the node has no file left for who is not root"
TEXT: Final = (
    "The node has no file left (fs.file-max): while that lasts only root can accept, and nobody else can help it."
)


def files_spent(recording: Recording) -> bool:
    """In any reading."""
    return any(reading.spent for _, reading in recording.series(Descriptors))
