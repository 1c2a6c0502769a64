"""Memory cgroups by their directories and cgroup.stat (cgroups(7), cgroup-v2.rst; mm/memcontrol.c)."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cgroupfs import Hierarchy
from whodunnet.kernel.procfs.files import integer, read_bytes, shown, unreadable

DIRECTORIES_MAX: Final = 20_000
CHILDREN_MAX: Final = 512
"""Cgroups whose cgroup.stat is read to see where the dying ones are."""
_STAT_LIMIT_BYTES: Final = 1 << 20
_NAME: Final = re.compile(rb"[a-z_]{1,64}")
_LEAF_LINKS: Final = 2  # of a directory without directories in it, also in kernfs (kernfs_refresh_inode)


def parse_cgroup_stat(data: bytes, source: str) -> dict[str, int]:
    """cgroup.stat by name. Raises MalformedError naming source."""
    found: dict[str, int] = {}
    for line in filter(bytes.strip, data.split(b"\n")):
        name, _, number = line.partition(b" ")
        if _NAME.fullmatch(name) is None:
            raise MalformedError(f"{source}: a line should be a name and a number and is {shown(line)}")
        found[name.decode()] = max(integer(number, source, name.decode()), 0)
    return found


def read_cgroup_stat(directory: Path) -> dict[str, int]:
    """Of one cgroup and all below it. Raises UnreadableError: missing-file before 4.14 and in v1."""
    path = directory / "cgroup.stat"
    return parse_cgroup_stat(read_bytes(path), str(path))


def has_memory(unified: Hierarchy) -> bool:
    """Whether v2 has the memory controller. Raises UnreadableError."""
    return b"memory" in read_bytes(unified.point / "cgroup.controllers").split()


def is_root(hierarchy: Hierarchy) -> bool:
    """Whether it is mounted as a whole: files that only the root has (v1), or only the others (v2)."""
    point = hierarchy.point
    if (point / "cgroup.controllers").exists():
        return not (point / "cgroup.type").exists()
    return (point / "release_agent").exists() or (point / "cgroup.sane_behavior").exists()


def count_directories(top: Path, at_most: int = DIRECTORIES_MAX) -> int | None:
    """Cgroups of a hierarchy, the root among them; None if there are more than `at_most`. Raises UnreadableError.

    Those without cgroups below are known by their number of links: each has dozens of files that need not be listed.
    """
    try:
        queue, found = deque(_directories(top)), 1
    except OSError as error:
        raise unreadable(str(top), error) from error
    while queue:
        found += 1
        if found > at_most:
            return None
        directory = queue.popleft()
        try:
            if os.stat(directory).st_nlink != _LEAF_LINKS:  # noqa: PTH116 - half the time of Path.stat
                queue.extend(_directories(directory))
        except OSError:
            continue  # removed meanwhile
    return found


def dying_below(unified: Hierarchy, name: str) -> list[tuple[str, int]]:
    """Where most deleted cgroups are kept: a line down from the root, at each step into the largest.

    name: the line of cgroup.stat that counts them.
    """
    found: list[tuple[str, int]] = []
    directory, read = unified.point, 0
    while read < CHILDREN_MAX:
        below = list(_dying_of_children(directory, name, CHILDREN_MAX - read))
        read += len(below)
        largest = max(below, key=lambda pair: pair[1], default=None)
        if largest is None or not largest[1]:
            return found
        directory = largest[0]
        path = f"{unified.top.rstrip('/')}/{os.fspath(directory.relative_to(unified.point))}"
        found.append((path, largest[1]))
    return found


def time_memory_stat(top: Path) -> float:
    """Seconds of CPU that reading memory.stat took. It may keep this CPU from packets. Raises UnreadableError."""
    begin = time.thread_time()
    read_bytes(top / "memory.stat", _STAT_LIMIT_BYTES)
    return time.thread_time() - begin


def _dying_of_children(directory: Path, name: str, at_most: int) -> Iterator[tuple[Path, int]]:
    try:
        children = list(_directories(directory))[:at_most]
    except OSError:
        return
    for child in children:
        try:
            yield Path(child), read_cgroup_stat(Path(child)).get(name, 0)
        except MalformedError:
            raise
        except UnreadableError:
            continue  # removed meanwhile


def _directories(directory: str | Path) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield os.fspath(entry.path)
