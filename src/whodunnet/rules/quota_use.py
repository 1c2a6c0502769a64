"""How far quotas of CPU time were used up within the window, by the processes that are under them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup, Version
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shell_quote

MOUNTS: Final[dict[Version, str]] = {"v1": "/sys/fs/cgroup/cpu", "v2": "/sys/fs/cgroup"}


class QuotaUse(NamedTuple):
    """One quota through a window. throttled: of its periods, those in which it was used up, and how long these were."""

    at: Moment
    version: Version
    path: str
    periods: int = 0
    throttled: int = 0
    throttled_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Of the periods in which it ran."""
        return min(self.throttled / self.periods, 1.0) if self.periods else 0.0


def quota_uses(recording: Recording) -> dict[int, list[QuotaUse]]:
    """By pid, of each quota above it; a cgroup that was made anew begins again."""
    found: dict[str, QuotaUse] = {}
    pids: dict[str, tuple[int, ...]] = {}
    for (_, before), (at, after) in pairwise(recording.series(CpuQuotas)):
        known = {cgroup.path: cgroup for cgroup in before.cgroups}
        for then in after.cgroups:
            first = known.get(then.path)
            if first is None or first.periods > then.periods or first.throttled > then.throttled:
                continue
            so_far = found.get(then.path, QuotaUse(at, after.version, then.path))
            found[then.path], pids[then.path] = _added(so_far, at, first, then), then.pids
    by_pid: dict[int, list[QuotaUse]] = {}
    for path, use in found.items():
        for pid in pids[path]:
            by_pid.setdefault(pid, []).append(use)
    return by_pid


def _added(use: QuotaUse, at: Moment, first: LimitedCgroup, then: LimitedCgroup) -> QuotaUse:
    throttled = then.throttled - first.throttled
    return use._replace(
        at=at,
        periods=use.periods + then.periods - first.periods,
        throttled=use.throttled + throttled,
        throttled_seconds=use.throttled_seconds + throttled * (then.period_us or 0) / 1e6,
    )


def repeat_of(path: str, version: Version) -> str:
    """How to see it again."""
    return f"cat {file_of(path, version, 'cpu.stat')}  # twice"


def file_of(path: str, version: Version, name: str) -> str:
    """A file of a cgroup where hierarchies are usually mounted, for a shell."""
    return shell_quote(f"{MOUNTS[version]}{path.rstrip('/')}/{name}")
