"""Which processes there are: the directories of procfs that are numbers (man 5 proc)."""

from __future__ import annotations

import os
from pathlib import Path

from whodunnet.kernel.procfs.files import unreadable


def list_pids(proc: Path) -> list[int]:
    """Every process in sight, by number. proc: where procfs is mounted. Raises UnreadableError."""
    try:
        names = os.listdir(proc)  # noqa: PTH208 - Path costs 3 µs a process
    except OSError as error:
        raise unreadable(str(proc), error) from error
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())
