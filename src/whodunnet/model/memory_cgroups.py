"""The sample of the memory_cgroups collector: memory cgroups in use, and deleted ones that the kernel still keeps."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.bounds import Count, Seconds

Version = Literal["v1", "v2"]
Reclaim = Literal["memory.reclaim", "memory.force_empty"]


class DyingBelow(msgspec.Struct, frozen=True):
    """A cgroup and how many deleted ones below it are still kept (v2 only: in v1 a deleted one has no place)."""

    path: str
    dying: Count


class MemoryCgroups(msgspec.Struct, frozen=True, tag="memory_cgroups", kw_only=True, omit_defaults=True):
    """Memory cgroups of the whole machine, or with `part` only of what is below our own cgroup.

    version: the hierarchy that has the memory controller, None where none has.
    live: cgroups that can be seen, the root among them. dying: deleted ones that something still charged to them keeps.
        None: this kernel does not say, or there are more than the collector counts.
    of_memory: whether both are of the memory controller, and not of cgroups as a whole, some of which may have none.
    counted_seconds_ago: how old both are: counting v1 takes time, and is not done for every reading.
    most: where most of the dying ones were, one line of cgroups a level deep.
    reclaim: the file by which memory below a cgroup can be given back here, None where there is no such file.
    stat_seconds: CPU time that reading memory.stat of the root took, None where it was not read. stat_age_seconds: how
        long ago that was. stat_spared: not read because so many are dying, or it is not known how many.
    """

    version: Version | None
    live: Count | None = None
    dying: Count | None = None
    part: bool = False
    of_memory: bool = True
    counted_seconds_ago: Seconds = 0.0
    most: tuple[DyingBelow, ...] = ()
    reclaim: Reclaim | None = None
    stat_seconds: Seconds | None = None
    stat_age_seconds: Seconds | None = None
    stat_spared: bool = False
