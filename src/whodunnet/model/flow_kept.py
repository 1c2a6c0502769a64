"""Connections that were opened within a window and are still there: they have left no entry behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whodunnet.model.flow_sockets import Opened, keys_of, opened_by
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads


def kept_in(sockets: Sequence[Sockets], workloads: Workloads, then: Sequence[Workloads | None]) -> Opened:
    """At most so many of the newest reading: as many as its owner has more than when it had fewest.

    As seen_in. Of one reading nobody knows since when they are open.
    """
    if not sockets:
        return {}
    *others, newest = _counted(sockets, workloads, then)
    return {opened: n - min((count.get(opened, 0) for count in others), default=0) for opened, n in newest.items()}


def _counted(sockets: Sequence[Sockets], workloads: Workloads, then: Sequence[Workloads | None]) -> Iterator[Opened]:
    for n, sample in enumerate(sockets):
        named = then[n] if then else None
        by_pid = workloads.by_pid if named is None else workloads.by_pid | named.by_pid
        yield opened_by(sample, keys_of(by_pid), opening=False)
