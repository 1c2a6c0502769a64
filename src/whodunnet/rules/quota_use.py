"""How far quotas of CPU time were used up within the window, by the processes that are under them."""

from __future__ import annotations

from typing import Final, NamedTuple

from whodunnet.model.cpu_quota import CpuQuotas, Version
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shell_quote

MOUNTS: Final[dict[Version, str]] = {"v1": "/sys/fs/cgroup/cpu", "v2": "/sys/fs/cgroup"}


class QuotaUse(NamedTuple):
    """One quota from the first reading of it to the last. throttled: of its periods, those in which it was used up."""

    at: Moment
    version: Version
    path: str
    periods: int
    throttled: int

    @property
    def share(self) -> float:
        return min(self.throttled / self.periods, 1.0) if self.periods else 0.0


def quota_uses(recording: Recording) -> dict[int, QuotaUse]:
    """By pid, of all quotas above it the one that was used up in the largest share of its periods."""
    series = recording.series(CpuQuotas)
    if len(series) < 2:
        return {}
    before = {cgroup.path: cgroup for cgroup in series[0][1].cgroups}
    at, last = series[-1]
    found: dict[int, QuotaUse] = {}
    for then in last.cgroups:
        first = before.get(then.path)
        if first is None or first.periods > then.periods or first.throttled > then.throttled:
            continue
        use = QuotaUse(at, last.version, then.path, then.periods - first.periods, then.throttled - first.throttled)
        for pid in then.pids:
            found[pid] = max(found.get(pid, use), use, key=lambda one: one.share)
    return found


def repeat_of(path: str, version: Version) -> str:
    """How to see it again."""
    return f"cat {file_of(path, version, 'cpu.stat')}  # twice"


def file_of(path: str, version: Version, name: str) -> str:
    """A file of a cgroup where hierarchies are usually mounted, for a shell."""
    return shell_quote(f"{MOUNTS[version]}{path.rstrip('/')}/{name}")
