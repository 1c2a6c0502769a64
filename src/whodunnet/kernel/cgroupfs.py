"""The cgroup file systems: is a cgroup frozen, and which path has a cgroup v2 id (cgroups(7); kernel/cgroup/)."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes, read_head
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.roots import Roots

MAX_DIRECTORIES: Final = 20_000
_FILE_SYSTEMS: Final = (b"cgroup", b"cgroup2")
_USUAL_PLACE: Final = Path("/sys/fs/cgroup")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


class Hierarchy(msgspec.Struct, frozen=True):
    """A mounted hierarchy: the cgroup `top` is the directory `point`."""

    point: Path
    top: str

    def directory(self, path: str) -> Path | None:
        """The directory of a cgroup, None if it is outside of what is mounted here."""
        inside = self.top == "/" or path == self.top or path.startswith(self.top + "/")
        if not inside or ".." in path.split("/") or "\0" in path:
            return None
        return self.point / path.removeprefix(self.top).lstrip("/")


class Hierarchies(msgspec.Struct, frozen=True, kw_only=True):
    """The hierarchies we read. unified: cgroup v2. freezer, memory, cpu: the v1 hierarchies with those controllers."""

    unified: Hierarchy | None = None
    freezer: Hierarchy | None = None
    memory: Hierarchy | None = None
    cpu: Hierarchy | None = None


def parse_mountinfo(data: bytes, roots: Roots) -> Hierarchies:
    """The cgroup mounts at or below roots.cgroup; the last mount wins, for it hides those before it.

    If there are none, mounts at the usual place count as being at roots.cgroup, which may show another machine's files
    or another mount namespace. Lines of other form say nothing (proc_pid_mountinfo(5)).
    """
    found = _mounted(data, roots.cgroup, roots.cgroup)
    return _mounted(data, _USUAL_PLACE, roots.cgroup) if found == Hierarchies() else found


def read_hierarchies(roots: Roots) -> Hierarchies:
    """Read which hierarchies are mounted. Raises UnreadableError."""
    return parse_mountinfo(read_bytes(roots.proc / roots.mounts / "mountinfo"), roots)


def is_frozen(hierarchies: Hierarchies, lines: Iterable[CgroupLine]) -> bool | None:
    """Whether a process's cgroup, or one above it, is frozen; None if no hierarchy says.

    v1: freezer.state (kernel/cgroup/legacy_freezer.c). v2: "frozen 1" in cgroup.events (kernel/cgroup/cgroup.c).
    """
    answers: list[bool] = []
    for line in lines:
        if not line.controllers:
            state = _read(hierarchies.unified, line.path, "cgroup.events")
            answers += [] if state is None else [b"frozen 1" in state.split(b"\n")]
        elif "freezer" in line.controllers:
            state = _read(hierarchies.freezer, line.path, "freezer.state")
            answers += [] if state is None else [state.strip() == b"FROZEN"]
    return any(answers) if answers else None


def find_paths(unified: Hierarchy, identifiers: Iterable[int], limit: int = MAX_DIRECTORIES) -> dict[int, str]:
    """Cgroup paths by cgroup v2 id, which is the directory's inode number (kernfs_ino, fs/kernfs/kernfs-internal.h).

    Breadth first, until all are found or `limit` directories were seen: what is missing in the answer is not known.
    """
    missing, found = set(identifiers), dict[int, str]()
    queue, seen = deque([unified.point]), 1
    _note(missing, found, _inode(unified.point), unified, unified.point)
    while queue and missing and seen < limit:
        for inode, path in _subdirectories(queue.popleft())[: limit - seen]:
            seen += 1
            queue.append(path)
            _note(missing, found, inode, unified, path)
    return found


def first_process(unified: Hierarchy, path: str) -> int | None:
    """The pid of a process in a cgroup v2, None if it is empty, gone, or its processes are hidden from us (pid 0)."""
    return next(iter(_pids(_read(unified, path, "cgroup.procs") or b"")), None)


def processes_in(directory: Path, at_most: int) -> list[int]:
    """Pids of all processes in a cgroup and not below it; none if they are more than at_most, hidden, or it is gone.

    They are numbers of our own pid namespace, whichever /proc we read.
    """
    try:
        raw = read_head(directory / "cgroup.procs", 12 * (at_most + 1))
    except UnreadableError:
        return []
    pids = [*_pids(raw)]
    return pids if len(raw.split()) == len(pids) <= at_most else []


def _pids(raw: bytes) -> Iterator[int]:
    return (int(word) for word in raw.split() if word.isdigit() and len(word) < 11 and int(word))


def _note(missing: set[int], found: dict[int, str], inode: int, unified: Hierarchy, path: Path) -> None:
    if inode in missing:
        missing.discard(inode)
        relative = str(path.relative_to(unified.point))
        found[inode] = unified.top if relative == "." else f"{unified.top.rstrip('/')}/{relative}"


def _inode(path: Path) -> int:
    """The inode number, 0 (which is none) if the directory cannot be looked at."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _subdirectories(path: Path) -> list[tuple[int, Path]]:
    """Inode number and path of every directory in a directory; none if it is gone or closed to us."""
    try:
        with os.scandir(path) as entries:
            return [(entry.inode(), path / entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read(hierarchy: Hierarchy | None, path: str, name: str) -> bytes | None:
    directory = hierarchy.directory(path) if hierarchy else None
    try:
        return read_bytes(directory / name) if directory else None
    except UnreadableError:
        return None


def _mounted(data: bytes, place: Path, seen_at: Path) -> Hierarchies:
    """The hierarchies mounted at or below `place`, which we find at `seen_at`."""
    unified = freezer = memory = cpu = None
    for line in data.split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields, kind = before.split(b" "), after.split(b" ")
        if len(fields) < 6 or len(kind) < 3 or kind[0] not in _FILE_SYSTEMS:
            continue
        if not (path := Path(_text(fields[4]))).is_relative_to(place) or "\0" in str(path):
            continue
        point = seen_at / path.relative_to(place)
        if kind[0] == b"cgroup2":
            unified = Hierarchy(point, _text(fields[3]))
            continue
        controllers = kind[2].split(b",")
        freezer = Hierarchy(point, _text(fields[3])) if b"freezer" in controllers else freezer
        memory = Hierarchy(point, _text(fields[3])) if b"memory" in controllers else memory
        cpu = Hierarchy(point, _text(fields[3])) if b"cpu" in controllers else cpu
    return Hierarchies(unified=unified, freezer=freezer, memory=memory, cpu=cpu)


def _text(field: bytes) -> str:
    """A field without the octal escapes of space, tab, newline and backslash (mangle(), fs/proc_namespace.c)."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))
