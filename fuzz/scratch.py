"""Files of a machine that does not exist, made of one input: its pieces, in the order of their paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

SEPARATOR: Final = b"\n--8<--\n"


def joined(*pieces: bytes) -> bytes:
    return SEPARATOR.join(pieces)


def write_pieces(root: Path, paths: Sequence[str], data: bytes) -> None:
    """An empty piece, or one that is missing, is a file that is missing."""
    for path, piece in zip(paths, data.split(SEPARATOR), strict=False):
        if piece:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(piece)
