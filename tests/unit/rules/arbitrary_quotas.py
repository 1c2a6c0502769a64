"""Arbitrary quotas of CPU time with sockets beside them: well typed, and half of them with something to find."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup, QuotaUser
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Sockets

from . import arbitrary
from .arbitrary import COUNTS, PIDS, TEXTS, Dice, Kinds, changing
from .nodes import listener
from .queued import udp
from .quotas import requests


def quota_recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {"cpu_quota": quotas, "sockets": sockets, "workloads": arbitrary.workloads}
    return changing(d, kinds, later, (0.0, 1.0, 5.0, 90.0), moments)


def quotas(d: Dice) -> CpuQuotas:
    return CpuQuotas(
        version=d.one(("v1", "v2")),
        cgroups=tuple({c.path: c for c in d.several(4, lambda: limited(d))}.values()),
        read=d.one(COUNTS),
        left_out=d.one((0, 0, 7)),
        unplaced=d.one((0, 0, 7)),
    )


def limited(d: Dice) -> LimitedCgroup:
    return LimitedCgroup(
        path=f"/{d.one(TEXTS)}",
        quota_us=d.one((None, 0, 20_000, 400_000)),
        period_us=d.one((None, 0, 100_000)),
        periods=d.one(COUNTS),
        throttled=d.one((0, 0, *COUNTS)),
        throttled_us=d.one(COUNTS),
        pids=tuple(pid for pid in PIDS if d.random() < 0.4),
        users=d.several(3, lambda: QuotaUser(pid=d.one(PIDS), comm=d.one(TEXTS), cpu_ms=d.one(COUNTS))),
    )


def sockets(d: Dice) -> Sockets:
    def waits() -> AcceptQueue:
        return replace(listener(d.one(PIDS)), waiting=d.one((0, 5, 129, 4_000)))

    def dropping() -> DroppingSocket:
        return udp(d.one((1, 500, 2**32 - 1)), d.one((0, 4_000)), d.one(PIDS), inode=d.randint(1, 3))

    wild = arbitrary.sockets(d)
    served = d.several(3, lambda: requests(d.one(COUNTS), pid=d.one(PIDS)))
    queues, losing = d.several(2, waits), d.several(2, dropping)
    return replace(wild, groups=(*wild.groups, *served), accept_queues=queues, dropping=losing)


def later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """The same, or with counters that have risen."""
    if isinstance(sample, Sockets):
        moved = (replace(s, dropped=(s.dropped + moment * d.one((0, 10, 500))) % 2**32) for s in sample.dropping)
        return replace(sample, dropping=tuple(moved))
    if not isinstance(sample, CpuQuotas):
        return sample
    return replace(
        sample,
        cgroups=tuple(
            replace(
                cgroup,
                periods=cgroup.periods + 10 * moment,
                throttled=cgroup.throttled + moment * d.one((0, 1, 9)),
                throttled_us=cgroup.throttled_us + moment * d.one((0, 500_000)),
                users=tuple(replace(x, cpu_ms=x.cpu_ms + moment * d.one((0, 10, 900))) for x in cgroup.users),
            )
            for cgroup in sample.cgroups
        ),
    )
