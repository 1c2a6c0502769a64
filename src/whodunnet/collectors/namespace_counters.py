"""Counters that the kernel keeps for each network namespace, of every namespace that can be reached."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TypeVar

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.procfs.netstat import Section
from whodunnet.kernel.roots import Roots

T = TypeVar("T")
NAMESPACES_LIMIT = 4096
Reading = tuple[dict[int, Section], int]
"""Counters by namespace, and the number of namespaces that could not be read."""
Read = Callable[[str], Section]
"""Reads the counters of the namespace in which a task of procfs is: a pid, or "thread-self"."""


def read_counters(roots: Roots, read: Read, at_most: int) -> Reading:
    """Counters by namespace, and the number of namespaces that could not be read.

    Raises UnreadableError if the list of processes cannot be read.
    """
    found = namespaces.find(roots)
    counters: dict[int, Section] = {}
    with Visitor() as visitor:
        for inum, way in islice(found.ways.items(), at_most):
            section = unless_unreadable(partial(_of_namespace, roots, read, visitor, inum, way))
            if section is not None:
                counters[inum] = section
    return counters, len(found.ways) - len(counters) + found.unidentified


def unless_unreadable(read: Callable[[], T]) -> T | None:
    """What `read` answers, None if the kernel does not let us. Raises MalformedError: that is for us to mend."""
    try:
        return read()
    except MalformedError:
        raise
    except UnreadableError:
        return None


def _of_namespace(roots: Roots, read: Read, visitor: Visitor, inum: int, way: Way) -> Section:
    """Counters of one namespace, by its process, else by its mount. Raises UnreadableError."""
    section = None if way.pid is None else unless_unreadable(partial(_of_process, roots, read, way.pid, inum))
    if section is not None:
        return section
    if way.mount is None:
        raise UnreadableError(f"no process is in network namespace {inum} any more", code="vanished")
    return visitor.inside(way.mount, inum, partial(read, "thread-self"))


def _of_process(roots: Roots, read: Read, pid: int, inum: int) -> Section | None:
    """Counters as a process sees them, None if that is another namespace by now. Raises UnreadableError."""
    section = read(str(pid))
    # Whether it moved on since the scan can be known for sure only afterwards.
    return section if namespaces.of_process(roots, pid) == inum else None
