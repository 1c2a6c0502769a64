"""Quotas of CPU time above the owners of sockets, and how often they were used up. Any user may read them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import UnreadableError
from whodunnet.kernel.cgroupfs import Hierarchies, Hierarchy, processes_in, read_hierarchies
from whodunnet.kernel.cpu_quota import above, has_cpu, read_cpu_stat, read_quota, version_of
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND, CgroupLine
from whodunnet.kernel.procfs.process_times import ProcessTimes, read_times
from whodunnet.kernel.roots import Roots
from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup, QuotaUser, Version
from whodunnet.model.text import clean

CGROUPS_LIMIT: Final = 1024
"""Whose cpu.stat is read for one sample."""
LOOK_AGAIN_SECONDS: Final = 10.0
"""So long what a quota is, and that there is none, is taken to last."""
USERS_LIMIT: Final = 64
"""With more processes in one cgroup, none of it is looked at."""
CGROUPS_WITH_USERS: Final = 16
"""So many of one sample; the first are the innermost of the first processes."""
PATH_MAX: Final = 4096
Lines = tuple[CgroupLine, ...]


class _Known(NamedTuple):
    """What was last found of a cgroup, and when. counts: it is under a quota, or ever ran under one.

    throttled: how often the quota had been used up when it was read last.
    """

    at: float
    counts: bool
    quota: tuple[int, int] | None
    throttled: int = 0


class CpuQuotaCollector:
    """Looks at the cgroups that known processes are in, and at those above them: each of these may have a quota."""

    name: ClassVar[str] = "cpu_quota"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._known: dict[str, _Known] = {}
        self._with_users = 0

    def collect(self, cgroups: Mapping[int, Lines]) -> CpuQuotas:
        """One reading. cgroups: by pid. Raises UnreadableError if the CPU controller is not in sight."""
        cpu = with_cpu(read_hierarchies(self._roots))
        version = version_of(cpu)
        below, unplaced = _by_cgroup(cgroups, cpu, version)
        wanted = list(below)[:CGROUPS_LIMIT]
        self._with_users, now = 0, time.monotonic()
        self._known = {path: self._known[path] for path in wanted if path in self._known}
        places = {path: cpu.directory(path) for path in wanted if self._is_due(path, now)}
        read = (self._look(d, version, path, below[path], now) for path, d in places.items() if d is not None)
        return CpuQuotas(
            version=version,
            cgroups=tuple(cgroup for cgroup in read if cgroup is not None),
            read=len(wanted),
            left_out=len(below) - len(wanted),
            unplaced=unplaced,
        )

    def _is_due(self, path: str, now: float) -> bool:
        """Whether it is read this time: one that counts nothing not each time."""
        known = self._known.get(path)
        return known is None or known.counts or now - known.at >= LOOK_AGAIN_SECONDS

    def _look(
        self, directory: Path, version: Version, path: str, pids: Iterable[int], now: float
    ) -> LimitedCgroup | None:
        """None for a cgroup that has no quota and never ran under one, or is gone."""
        found = unless_unreadable(partial(read_cpu_stat, directory))
        if found is None:
            self._known[path] = _Known(now, counts=False, quota=None)
            return None
        known = before = self._known.get(path)
        if known is None or not known.counts or now - known.at >= LOOK_AGAIN_SECONDS:
            limit = unless_unreadable(partial(read_quota, directory, version))
            known = self._known[path] = _Known(now, limit is not None or found.periods > 0, limit)
        if not known.counts:
            return None
        again = found.throttled > before.throttled if before is not None else found.throttled > 0
        self._known[path] = known._replace(throttled=found.throttled)
        quota, period = known.quota or (None, None)
        return LimitedCgroup(
            path=clean(path, PATH_MAX),
            quota_us=quota,
            period_us=period,
            periods=found.periods,
            throttled=found.throttled,
            throttled_us=found.throttled_us,
            pids=tuple(pids),
            users=self._users(directory, frozenset(pids)) if again else (),
        )

    def _users(self, directory: Path, owners: frozenset[int]) -> tuple[QuotaUser, ...]:
        """Who uses the quota up; none where one cannot be read, or no owner is among them: of another pid namespace."""
        if self._with_users == CGROUPS_WITH_USERS:
            return ()
        pids = processes_in(directory, USERS_LIMIT)
        if owners.isdisjoint(pids):
            return ()
        self._with_users += 1
        every = [times for pid in pids if (times := read_times(self._roots, pid)) is not None]
        if len(every) < len(pids):
            return ()
        return tuple(_user(times) for times in every)


def _user(times: ProcessTimes) -> QuotaUser:
    return QuotaUser(
        pid=times.pid,
        parent=times.parent,
        comm=times.comm,
        started_seconds=times.started_ticks / TICKS_PER_SECOND,
        cpu_ms=times.cpu_ms,
    )


def with_cpu(hierarchies: Hierarchies) -> Hierarchy:
    unified = hierarchies.unified
    if hierarchies.cpu is not None:
        return hierarchies.cpu
    if unified is not None and has_cpu(unified):
        return unified
    raise UnreadableError("no file system of cgroups with the CPU controller is mounted in sight", "missing-file")


def _by_cgroup(cgroups: Mapping[int, Lines], cpu: Hierarchy, version: Version) -> tuple[dict[str, list[int]], int]:
    """The processes in or below each cgroup, and how many are in none that is mounted here."""
    below: dict[str, list[int]] = {}
    unplaced = 0
    for pid, lines in sorted(cgroups.items()):
        path = _path(lines, version)
        if path is None or cpu.directory(path) is None:
            unplaced += 1
            continue
        for directory in above(path):
            below.setdefault(directory, []).append(pid)
    return below, unplaced


def _path(lines: Iterable[CgroupLine], version: Version) -> str | None:
    return next((x.path for x in lines if ("cpu" in x.controllers if version == "v1" else not x.controllers)), None)
