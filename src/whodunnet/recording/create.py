"""Brings a file into being with its content in it: whoever is killed before has not made it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def create(path: Path, content: bytes) -> None:
    """For its owner only. Raises OSError, also if there is one already; then nothing stays behind."""
    try:
        file = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without files that have no name (NFS, older overlayfs)
        _create_beside(path, content)
        return
    with os.fdopen(file, "wb") as out:
        _fill(out, content)
        # Python follows the link in /proc only if it has a directory to start from (linkat in place of link).
        os.link(f"/proc/self/fd/{out.fileno()}", path, src_dir_fd=out.fileno(), follow_symlinks=True)


def _create_beside(path: Path, content: bytes) -> None:
    """By another name first. Only a kill leaves that behind."""
    file, made = tempfile.mkstemp(prefix="whodunnet-", suffix=".part", dir=path.parent)
    name = Path(made)
    try:
        with os.fdopen(file, "wb") as out:
            _fill(out, content)
        _rename(name, path)
    finally:
        with suppress(FileNotFoundError):
            name.unlink()


def _rename(name: Path, path: Path) -> None:
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links (FAT): the name is taken first, so that nobody else's is lost
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        name.rename(path)


def _fill(out: BinaryIO, content: bytes) -> None:
    out.write(content)
    out.flush()
    os.fsync(out.fileno())
