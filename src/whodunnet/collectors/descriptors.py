"""Processes near their limit of open descriptors, and the machine near its limit of open files.

Needs nothing from Linux 6.2 on; CAP_SYS_PTRACE for other users' processes on older kernels, and to tell sockets from
files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.open_files import count_open_files, read_descriptor_limit, read_file_use, read_kinds
from whodunnet.kernel.procfs.process import read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.model.descriptors import Descriptors, DescriptorUse

MANY = 32
"""Descriptors from which on the limit of a process is read, at about 30 µs: hardly any limit is as low."""
LISTED = 32
"""Processes that are kept, those nearest to their limits."""
ABOVE = 8
"""Of those, how many may have more open than their limit, as sandboxes do, while one that is near its own needs the
room; more only in what these leave."""
NEAR = 0.8
"""Share of its limit from which on it is looked what the descriptors of a process are."""
LOOKED_AT = 256
"""Descriptors of one process that are looked at."""


Use = tuple[float, int, int, int]
"""Share of the limit, pid, open descriptors, limit."""


class DescriptorsCollector:
    """Counts the descriptors of every process, by one stat for each."""

    name: ClassVar[str] = "descriptors"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def collect(self) -> Descriptors:
        """One reading. Raises UnreadableError if processes cannot be listed."""
        found = count_open_files(self._roots.proc)
        uses: list[Use] = []
        for pid, number in found.by_pid.items():
            limit = self._limit(pid) if number >= MANY else None
            if limit is not None:
                uses.append((number / max(limit, 1), pid, number, limit))
        kept = _nearest(uses)
        fullest = [self._use(*use) for use in kept]
        files = unless_unreadable(partial(read_file_use, self._roots))
        return Descriptors(
            fullest=tuple(use for use in fullest if use is not None),
            near_left_out=_near(uses) - _near(kept),
            processes=len(found.by_pid),
            denied=found.denied,
            left_out=found.left_out,
            open_files=files[0] if files else None,
            max_files=files[1] if files else None,
        )

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _limit(self, pid: int) -> int | None:
        """None where there is none, or the process is gone."""
        return unless_unreadable(partial(read_descriptor_limit, self._roots, pid))

    def _use(self, share: float, pid: int, number: int, limit: int) -> DescriptorUse | None:
        """None if it is gone meanwhile. Raises MalformedError."""
        try:
            stat = read_stat(self._roots, pid)
        except MalformedError:
            raise
        except UnreadableError:
            return None
        use = DescriptorUse(pid=pid, comm=stat.comm, started_seconds=stat.started_seconds, open=number, limit=limit)
        kinds = read_kinds(self._roots.proc, pid, LOOKED_AT) if share >= NEAR else None
        if kinds is None:
            return use
        return msgspec.structs.replace(use, sockets=kinds.sockets, files=kinds.files, other=kinds.other)


def _nearest(uses: Sequence[Use]) -> list[Use]:
    """Those that are kept, the nearest first; of those within their limits the nearest one always."""
    ordered = sorted(uses, key=_nearest_first)
    above = [use for use in ordered if use[0] > 1]
    within = [use for use in ordered if use[0] <= 1]
    first = max(_near(within), 1)
    kept = above[:ABOVE] + within[:first] + above[ABOVE:] + within[first:]
    return sorted(kept[:LISTED], key=_nearest_first)


def _nearest_first(use: Use) -> tuple[float, int]:
    return -use[0], use[1]


def _near(uses: Sequence[Use]) -> int:
    return sum(use[0] >= NEAR for use in uses)
