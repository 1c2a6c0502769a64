"""Where runtimes keep their state: paths of the machine that is looked at, and files that belong to ordinary users."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes, unreadable
from whodunnet.kernel.roots import Roots

_LOCAL: Final = {b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"zfs", b"f2fs", b"bcachefs", b"tmpfs", b"overlay"}
_MAX_DEPTH: Final = 64
_CHUNK_BYTES: Final = 1 << 16
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")  # space, tab, newline, backslash (mangle(), fs/proc_namespace.c)


def on_machine(roots: Roots, path: str) -> Path | None:
    """An absolute path as that machine's own programs write it; None for any other path."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or "\0" in path or len(pure.parts) > _MAX_DEPTH:
        return None
    return roots.top.joinpath(*pure.parts[1:])


def read_passwd_home(roots: Roots, uid: int) -> str | None:
    """The home directory that etc/passwd gives a user (passwd(5)); None if it has no such user."""
    try:
        data = read_bytes(roots.etc / "passwd")
    except UnreadableError:
        return None
    for line in os.fsdecode(data).split("\n"):
        fields = line.split(":")
        if len(fields) == 7 and fields[2] == str(uid):
            return fields[5]
    return None


def read_users_file(roots: Roots, path: Path, uid: int, limit: int) -> bytes:
    """A file that an ordinary user may have made, to harm whoever reads it. Raises UnreadableError.

    It has to be a plain file of that user, of at most `limit` bytes, reached without symbolic links, on a local file
    system: one on a network can hang, most of all on a node whose network is broken.
    """
    if not _is_local(roots, path):
        raise UnreadableError(f"{path} is not on a local file system")
    try:
        descriptor = _open_without_links(roots, path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != uid:
                raise UnreadableError(f"{path} is not a plain file of user {uid}")
            if status.st_size > limit:
                raise MalformedError(f"{path} is longer than {limit} bytes")
            return b"".join(_pieces(descriptor, status.st_size))
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error if isinstance(error, OSError) else OSError()) from error


def _open_without_links(roots: Roots, path: Path) -> int:
    """Open a file whose path below the machine's root directory has no symbolic link. Raises OSError, ValueError."""
    directory = os.open(roots.top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.relative_to(roots.top).parts[:-1]:
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO would block
        return os.open(path.name, flags, dir_fd=directory)
    finally:
        os.close(directory)


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := os.read(descriptor, min(size, _CHUNK_BYTES))):
        size -= len(piece)
        yield piece


def _is_local(roots: Roots, path: Path) -> bool:
    """Whether the last mount at or above this path is of a local file system (proc_pid_mountinfo(5))."""
    # The mounts of the machine's own process name paths as that machine does, ours name them as we do.
    own = roots.mounts == "self" or not path.is_relative_to(roots.top)
    raw, best, kind = os.fsencode(path if own else Path("/") / path.relative_to(roots.top)), -1, b""
    for line in read_bytes(roots.proc / roots.mounts / "mountinfo", 4 << 20).split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields, names = before.split(b" "), after.split(b" ")
        if len(fields) < 6:
            continue
        point = _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), fields[4]).rstrip(b"/")
        if (raw == point or raw.startswith(point + b"/")) and len(point) >= best:
            best, kind = len(point), names[0]
    return kind in _LOCAL
