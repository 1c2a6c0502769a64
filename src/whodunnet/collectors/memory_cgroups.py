"""Memory cgroups in use and dying, without a read that could itself keep a CPU from its packets."""

from __future__ import annotations

import time
from functools import partial
from typing import ClassVar, Final

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import UnreadableError
from whodunnet.kernel.cgroupfs import Hierarchies, Hierarchy, read_hierarchies
from whodunnet.kernel.memory_cgroups import (
    count_directories,
    dying_below,
    has_memory,
    is_root,
    read_cgroup_stat,
    time_memory_stat,
)
from whodunnet.kernel.procfs.cgroups import read_cgroups
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups, Reclaim

DYING_SPARED: Final = 2_000
"""From so many on memory.stat is not read: on some kernels that walks all of them, with packets waiting."""
STAT_EVERY_SECONDS: Final = 10.0
COUNT_EVERY_SECONDS: Final = 10.0
_RECLAIMS: Final[tuple[Reclaim, ...]] = ("memory.reclaim", "memory.force_empty")


class MemoryCgroupsCollector:
    """Counts memory cgroups. v1 is counted by its directories, which takes time: every COUNT_EVERY_SECONDS only."""

    name: ClassVar[str] = "memory_cgroups"

    def __init__(self, roots: Roots, support: Support, *, active: bool = False) -> None:
        """active: read memory.stat however many are dying."""
        self._roots = roots
        self._support = support
        self._active = active
        self._counted: tuple[float, MemoryCgroups] | None = None
        self._timed: tuple[float, float] | None = None

    def collect(self) -> MemoryCgroups:
        """One reading. Raises UnreadableError."""
        hierarchies = read_hierarchies(self._roots)
        hierarchy = _with_memory(hierarchies)
        if hierarchy is None:
            return self._absent(hierarchies.unified)
        if hierarchy is hierarchies.memory:
            return self._with_stat(self._v1(hierarchy), hierarchy)
        return self._with_stat(self._v2(hierarchy), hierarchy)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _absent(self, unified: Hierarchy | None) -> MemoryCgroups:
        """The memory controller is off. Raises UnreadableError if it may be on, and out of sight.

        /proc/cgroups alone does not tell: it hides the controllers of v2 from 6.18 on.
        """
        listed = unless_unreadable(partial(read_cgroups, self._roots)) or {}
        if unified is None or not is_root(unified) or listed.get("memory", 0) > 1:
            raise UnreadableError("no file system of memory cgroups is mounted in sight", "missing-file")
        return MemoryCgroups(version=None)

    def _v1(self, hierarchy: Hierarchy) -> MemoryCgroups:
        """What the kernel counts, less what can be seen. Both are read together or not at all."""
        now = time.monotonic()
        if self._counted is not None and now - self._counted[0] < COUNT_EVERY_SECONDS:
            return msgspec.structs.replace(self._counted[1], counted_seconds_ago=round(now - self._counted[0], 3))
        live = count_directories(hierarchy.point)
        whole = is_root(hierarchy)
        every = read_cgroups(self._roots).get("memory") if whole else None
        found = MemoryCgroups(
            version="v1",
            live=live,
            dying=None if every is None or live is None else max(every - live, 0),
            part=not whole,
            reclaim=_reclaim(hierarchy),
        )
        self._counted = now, found
        return found

    def _v2(self, hierarchy: Hierarchy) -> MemoryCgroups:
        """As cgroup.stat says, by the memory controller's own lines where this kernel has them (6.12)."""
        counts = unless_unreadable(partial(read_cgroup_stat, hierarchy.point)) or {}
        own = "nr_dying_subsys_memory" in counts
        name = "nr_dying_subsys_memory" if own else "nr_dying_descendants"
        live = counts.get("nr_subsys_memory")
        if live is None and "nr_descendants" in counts:
            live = counts["nr_descendants"] + 1
        dying = counts.get(name)
        return MemoryCgroups(
            version="v2",
            live=live,
            dying=dying,
            part=not is_root(hierarchy),
            of_memory=own,
            most=tuple(DyingBelow(path, n) for path, n in dying_below(hierarchy, name)) if dying else (),
            reclaim=_reclaim(hierarchy),
        )

    def _with_stat(self, sample: MemoryCgroups, hierarchy: Hierarchy) -> MemoryCgroups:
        """With how long memory.stat took, which is read no more often than others do."""
        if not self._active and (sample.dying is None or sample.dying >= DYING_SPARED):
            return msgspec.structs.replace(sample, stat_spared=True)
        now = time.monotonic()
        if self._timed is None or now - self._timed[0] >= STAT_EVERY_SECONDS:
            took = unless_unreadable(partial(time_memory_stat, hierarchy.point))
            self._timed = None if took is None else (now, took)
        if self._timed is None:
            return sample
        at, seconds = self._timed
        return msgspec.structs.replace(sample, stat_seconds=seconds, stat_age_seconds=round(now - at, 3))


def _with_memory(hierarchies: Hierarchies) -> Hierarchy | None:
    if hierarchies.memory is not None:
        return hierarchies.memory
    unified = hierarchies.unified
    return unified if unified is not None and has_memory(unified) else None


def _reclaim(hierarchy: Hierarchy) -> Reclaim | None:
    """The way that this kernel offers: some files are missing in the root, so the cgroups below it are looked at."""
    places = [hierarchy.point, *(path.parent for path in sorted(hierarchy.point.glob("*/memory.stat"))[:1])]
    return next((name for name in _RECLAIMS if any((place / name).exists() for place in places)), None)
