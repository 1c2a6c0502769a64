"""How many files each process and the whole machine have open, and of what kind (fs/proc/fd.c, fs/file_table.c)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.procfs.process import parse_descriptor_limit
from whodunnet.kernel.roots import Roots
from whodunnet.model.bounds import INT64_MAX

LISTED_MAX = 200_000
"""Descriptors listed in one pass where the kernel does not tell their number; at about 0.5 µs each."""


class OpenFiles(msgspec.Struct, kw_only=True):
    """Open descriptors by pid, of the table of each process's leader.

    counted: the kernel told the numbers (Linux 6.2); else they were listed. denied: processes that we may not look at.
    vanished: those that ended meanwhile. left_out: processes not counted, because LISTED_MAX was reached.
    """

    by_pid: dict[int, int] = msgspec.field(default_factory=dict)
    counted: bool = True
    denied: int = 0
    vanished: int = 0
    left_out: int = 0


class FileKinds(msgspec.Struct, kw_only=True):
    """What some of the descriptors of a process are. other: pipes, timers, epoll, memory and the like."""

    sockets: int = 0
    files: int = 0
    other: int = 0


def read_file_use(roots: Roots) -> tuple[int, int]:
    """Files open on the whole machine, and how many may be. Raises UnreadableError."""
    path = roots.proc / "sys/fs/file-nr"
    return parse_file_nr(read_bytes(path), str(path))


def parse_file_nr(data: bytes, source: str) -> tuple[int, int]:
    """Parse fs.file-nr: open, 0, at most (proc_nr_files). Raises MalformedError."""
    words = data.split()
    if len(words) != 3:
        raise MalformedError(f"{source}: should be three numbers and is {shown(data)}")
    found = [min(integer(word, source, "a number of files"), INT64_MAX) for word in words]
    if min(found) < 0:
        raise MalformedError(f"{source}: a number of files is below 0: {shown(data)}")
    return found[0], found[2]


def count_open_files(proc: Path, limit: int = LISTED_MAX) -> OpenFiles:
    """One pass over every process below `proc`: a stat of each, else a listing. Raises UnreadableError."""
    pids = list_pids(proc)
    found = OpenFiles(counted=_says_number(proc))
    room, root = limit, str(proc)
    for position, pid in enumerate(pids):
        if room <= 0:
            found.left_out = len(pids) - position
            break
        path = f"{root}/{pid}/fd"
        try:
            number = os.stat(path).st_size if found.counted else len(os.listdir(path))  # noqa: PTH116, PTH208
        except PermissionError:
            found.denied += 1
        except OSError:
            found.vanished += 1
        else:
            found.by_pid[pid] = number
            room -= 0 if found.counted else number
    return found


def read_descriptor_limit(roots: Roots, pid: int) -> int | None:
    """The soft limit, None for "unlimited". Raises UnreadableError."""
    path = roots.proc / str(pid) / "limits"
    return parse_descriptor_limit(read_bytes(path), str(path))


def read_kinds(proc: Path, pid: int, at_most: int) -> FileKinds | None:
    """What at most so many of its descriptors are, from all over its table; None if we may not look."""
    found = FileKinds()
    try:
        # Relative to an open directory each readlink resolves one name instead of four.
        directory = os.open(f"{proc}/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        names = os.listdir(directory)  # noqa: PTH208 - pathlib cannot list an open directory
        for name in names[:: max(-(-len(names) // at_most), 1)]:
            with suppress(FileNotFoundError):
                _add(found, os.readlink(name, dir_fd=directory))
    except OSError:
        return None
    finally:
        os.close(directory)
    return found


def _add(found: FileKinds, target: str) -> None:
    """Of a name such as "socket:[1]", "/var/log/x" or "anon_inode:[eventpoll]" (d_path)."""
    if target.startswith("/"):
        found.files += 1
    elif target.startswith("socket:["):
        found.sockets += 1
    else:
        found.other += 1


def _says_number(proc: Path) -> bool:
    """Whether the size of such a directory is the number of descriptors: it is 0 on older kernels, and we have some."""
    try:
        return (proc / "self/fd").stat().st_size > 0
    except OSError:
        return False
