"""Files of a machine that does not exist, made of one input: its pieces, in the order of their paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SEPARATOR: Final = b"\n--8<--\n"
_LINK_BYTES: Final = 4095  # PATH_MAX, with the zero behind it


def joined(*pieces: bytes) -> bytes:
    return SEPARATOR.join(pieces)


def write_pieces(root: Path, paths: Sequence[str], data: bytes) -> None:
    """An empty piece, or one that is missing, is a file that is missing. A path with "@" at its end is a link's."""
    for path, piece in zip(paths, data.split(SEPARATOR), strict=False):
        if not piece:
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("@"):
            (root / path).write_bytes(piece)
        elif target := piece.replace(b"\0", b"")[:_LINK_BYTES]:
            (root / path.removesuffix("@")).symlink_to(os.fsdecode(target))
