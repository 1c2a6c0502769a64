"""Asks every reachable network namespace something, from inside of it.

Needs CAP_SYS_ADMIN for other namespaces than our own, and CAP_SYS_PTRACE to find those of other users' processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TypeVar

from whodunnet.collectors.namespace_counters import NAMESPACES_LIMIT, unless_unreadable
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.roots import Roots

T = TypeVar("T")


def visit_all(
    roots: Roots,
    call: Callable[[], T],
    at_most: int = NAMESPACES_LIMIT,
    *,
    remembered: Callable[[int, Way], T | None] = lambda _inum, _way: None,
) -> tuple[dict[int, T], int]:
    """Answers by namespace, and the number of namespaces without one.

    remembered: an answer that will do without a visit. Raises UnreadableError if the list of processes cannot be read,
    and MalformedError.
    """
    found = namespaces.find(roots)
    own = namespaces.own(roots)
    ways = {own: Way(), **found.ways}
    answers: dict[int, T] = {}
    with Visitor() as visitor:
        for inum, way in islice(ways.items(), at_most):
            read: Callable[[], T] = call if inum == own else partial(_inside, roots, visitor, inum, way, call)
            answer = remembered(inum, way) or unless_unreadable(read)
            if answer is not None:
                answers[inum] = answer
    return answers, len(ways) - len(answers) + found.unidentified


def _inside(roots: Roots, visitor: Visitor, inum: int, way: Way, call: Callable[[], T]) -> T:
    """In one namespace, by its process, else by its mount. Raises UnreadableError."""
    if way.pid is not None:
        visit = partial(visitor.inside, roots.proc / str(way.pid) / "ns/net", inum, call)
        answer = unless_unreadable(visit) if way.mount is not None else visit()
        if answer is not None:
            return answer
    if way.mount is None:
        raise UnreadableError(f"no way leads to network namespace {inum}", code="vanished")
    return visitor.inside(way.mount, inum, call)
