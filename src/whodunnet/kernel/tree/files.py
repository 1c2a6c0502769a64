"""A tree of copied files, read without ever leaving it: it comes from strangers, and may hold anything.

Links are followed as the machine would that the tree was copied from: an absolute one begins at the root of the tree,
and there is nothing above. What is no regular file is not opened, as a pipe could hold us and a device do worse. The
kernel's own files are refused, so that a tree with a living procfs in it never mixes two machines.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import DEFAULT_LIMIT_BYTES
from whodunnet.model.text import clean

LINKS_MAX: Final = 40  # MAXSYMLINKS (linux/namei.h)
NAMES_MAX: Final = 65_536
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PAGE: Final = 4096


class Tree:
    """Use it in a `with` block. Paths are those of the copied machine, without the first slash."""

    def __init__(self, root: Path) -> None:
        """Raises OSError if it is no directory."""
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def read(self, path: str, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """A whole file. Raises UnreadableError; MalformedError if it is longer than `limit` bytes."""
        with self._opened(path) as (descriptor, size):
            if size > limit:
                raise MalformedError(f"{path} of the tree is longer than {limit} bytes")
            return _read(descriptor, size)

    def read_end(self, path: str, limit: int) -> bytes:
        """The last `limit` bytes of a file, from the start of a line on. Raises UnreadableError."""
        with self._opened(path) as (descriptor, size):
            if size <= limit:
                return _read(descriptor, size)
            os.lseek(descriptor, size - limit, os.SEEK_SET)
            return _read(descriptor, limit).partition(b"\n")[2]

    def first(self, *paths: str, limit: int = DEFAULT_LIMIT_BYTES) -> tuple[str, bytes]:
        """The first of these files that can be read, with its path. Raises UnreadableError, of the first that is there.

        Empty files count as missing: they are what a command left that could not be run.
        """
        problem: UnreadableError | None = None
        for path in paths:
            try:
                return path, self.read(path, limit)
            except UnreadableError as error:
                problem = error if problem is None or problem.code == "missing-file" else problem
        assert problem is not None
        raise problem

    def names(self, path: str) -> list[str]:
        """What is in a directory, no more than NAMES_MAX, in order; nothing where there is none."""
        with suppress(UnreadableError, OSError), self._walked(path) as (directory, name):
            descriptor = os.open(
                name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
            )
            try:
                with os.scandir(descriptor) as entries:
                    return sorted(entry.name for entry in islice(entries, NAMES_MAX))
            finally:
                os.close(descriptor)
        return []

    def changed(self, path: str) -> datetime | None:
        """When a file or directory was last written; None where there is none."""
        with suppress(UnreadableError, OSError, OverflowError, ValueError), self._walked(path) as (directory, name):
            found = os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
            return datetime.fromtimestamp(found.st_mtime, UTC)
        return None

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, int]]:
        """A descriptor and how many bytes may be read from it."""
        with self._walked(path) as (directory, name), _as_unreadable(path):
            if not stat.S_ISREG(os.stat(name or ".", dir_fd=directory, follow_symlinks=False).st_mode):
                raise UnreadableError(f"{path} of the tree is no regular file")
            descriptor = os.open(name, _FILE, dir_fd=directory)
            try:
                yield descriptor, _size(descriptor, path)
            finally:
                os.close(descriptor)

    @contextmanager
    def _walked(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory that a path leads to, and the name in it, which is no link; "" for the root itself."""
        above: list[int] = [os.dup(self._root)]
        try:
            with _as_unreadable(path):
                name = _walk(above, path)
            yield above[-1], name
        finally:
            for descriptor in above:
                os.close(descriptor)


def _walk(above: list[int], path: str) -> str:
    """Opens one directory after the other onto `above`, and returns the last name. Raises OSError, UnreadableError."""
    rest, links = list(reversed(path.split("/"))), 0
    while rest:
        name = rest.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            if len(above) > 1:
                os.close(above.pop())
            continue
        target = _target(above[-1], name)
        if target is not None:
            if (links := links + 1) > LINKS_MAX:
                raise UnreadableError(f"{path} of the tree is a link that leads nowhere")
            if target.startswith("/"):
                while len(above) > 1:
                    os.close(above.pop())
            rest += reversed(target.split("/"))
        elif any(part not in ("", os.curdir) for part in rest):
            above.append(os.open(name, _DIRECTORY, dir_fd=above[-1]))
        else:
            return name
    return ""


def _target(directory: int, name: str) -> str | None:
    """Where a link leads, None for anything else. Raises OSError where there is nothing of that name."""
    if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)


def _size(descriptor: int, path: str) -> int:
    """How long a copied file is. Raises UnreadableError for one that is empty, or of a kernel that runs.

    Files of procfs say that they have no bytes, those of sysfs that they have a page, and none takes any room.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableError(f"{path} of the tree is no regular file")
    if found.st_size == 0:
        raise UnreadableError(f"{path} of the tree is empty", code="missing-file")
    if found.st_blocks == 0 and found.st_size >= _PAGE:
        raise UnreadableError(f"{path} of the tree is no copy, but of a kernel that runs")
    return found.st_size


def _read(descriptor: int, size: int) -> bytes:
    """No more than the file had when it was opened."""
    data = bytearray()
    while len(data) < size and (piece := os.read(descriptor, size - len(data))):
        data += piece
    return bytes(data)


@contextmanager
def _as_unreadable(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableError(f"{clean(path)} is not in the tree", code="missing-file") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableError(f"{clean(path)} of the tree cannot be read: {why}") from error
