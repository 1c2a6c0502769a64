"""The sample of the cpu_quota collector: cgroups whose CPU time is limited, and how often they used it up."""

from __future__ import annotations

from typing import Literal

import msgspec

from whodunnet.model.bounds import Count, Seconds

Version = Literal["v1", "v2"]


class QuotaUser(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One process in such a cgroup. parent: its pid. started_seconds: boot clock. cpu_ms: of all its threads."""

    pid: Count
    parent: Count = 0
    comm: str
    started_seconds: Seconds = 0.0
    cpu_ms: Count


class LimitedCgroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One cgroup with a quota of CPU time, and what the kernel counted since it was made.

    path: in the hierarchy of the CPU controller. quota_us: of each period_us, by all CPUs together; None where it could
        not be read, or was taken away since.
    periods: in which it ran; throttled: of these, in which it had used up its quota. throttled_us: for how long it was
        then kept from its CPUs, each CPU counted for itself.
    pids: of the processes whose sockets or connections are seen, those in it or below it.
    users: all that are in it and not below; only where its quota was used up since it was last read.
    """

    path: str
    quota_us: Count | None = None
    period_us: Count | None = None
    periods: Count
    throttled: Count
    throttled_us: Count
    pids: tuple[Count, ...] = ()
    users: tuple[QuotaUser, ...] = ()


class CpuQuotas(msgspec.Struct, frozen=True, tag="cpu_quota", kw_only=True, omit_defaults=True):
    """The cgroups above the owners of sockets that have a quota, or had one.

    version: of the hierarchy with the CPU controller. read: how many cgroups were looked at; left_out: beyond that.
    unplaced: processes whose cgroup is not in what is mounted here.
    """

    version: Version
    cgroups: tuple[LimitedCgroup, ...] = ()
    read: Count = 0
    left_out: Count = 0
    unplaced: Count = 0
