"""The quota of CPU time of a cgroup and how often it was used up (cgroup-v2.rst; tg_cfs_bandwidth, kernel/sched/)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.cgroupfs import Hierarchy
from whodunnet.kernel.procfs.files import integer, read_head, shown
from whodunnet.model.cpu_quota import Version

_READ_BYTES: Final = 4096
_NS_PER_US: Final = 1000
_COUNTERS: Final = frozenset({"nr_periods", "nr_throttled", "throttled_usec", "throttled_time"})


class Throttling(msgspec.Struct, frozen=True):
    """What cpu.stat counts of a quota since the cgroup was made; see model.cpu_quota.LimitedCgroup."""

    periods: int
    throttled: int
    throttled_us: int


def version_of(cpu: Hierarchy) -> Version:
    """Whether this hierarchy is v2."""
    return "v2" if (cpu.point / "cgroup.controllers").exists() else "v1"


def has_cpu(unified: Hierarchy) -> bool:
    """Whether v2 has the CPU controller. Raises UnreadableError."""
    return b"cpu" in read_head(unified.point / "cgroup.controllers", _READ_BYTES).split()


def parse_cpu_stat(data: bytes, source: str) -> Throttling | None:
    """None where the file has no such counters: the root, or a kernel without quotas. Raises MalformedError.

    v1 counts in nanoseconds, v2 in microseconds.
    """
    found: dict[str, int] = {}
    for line in data.split(b"\n"):
        words = line.split()
        if words and (name := words[0].decode("ascii", "replace")) in _COUNTERS:
            found[name] = max(integer(words[1] if len(words) == 2 else line, source, name), 0)
    if "nr_periods" not in found:
        return None
    if "nr_throttled" not in found or not {"throttled_usec", "throttled_time"} & found.keys():
        raise MalformedError(f"{source}: has nr_periods, and lacks nr_throttled or the time that goes with it")
    us = found.get("throttled_usec", found.get("throttled_time", 0) // _NS_PER_US)
    return Throttling(found["nr_periods"], found["nr_throttled"], us)


def read_cpu_stat(directory: Path) -> Throttling | None:
    """As above, of one cgroup and not of those below it. Raises UnreadableError."""
    path = directory / "cpu.stat"
    return parse_cpu_stat(read_head(path, _READ_BYTES), str(path))


def parse_cpu_max(data: bytes, source: str) -> tuple[int, int] | None:
    """Quota and period of cpu.max in microseconds, None for "max": no limit. Raises MalformedError."""
    words = data.split()
    if len(words) != 2:
        raise MalformedError(f"{source}: should be a quota and a period and is {shown(data)}")
    period = integer(words[1], source, "the period")
    return None if words[0] == b"max" else _checked(integer(words[0], source, "the quota"), period, source)


def read_quota(directory: Path, version: Version) -> tuple[int, int] | None:
    """Quota and period in microseconds, None without a limit. Raises UnreadableError."""
    if version == "v2":
        return parse_cpu_max(read_head(directory / "cpu.max", _READ_BYTES), str(directory / "cpu.max"))
    quota, period = (_number(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return None if quota < 0 else _checked(quota, period, str(directory))


def _number(path: Path) -> int:
    return integer(read_head(path, _READ_BYTES).strip(), str(path), "the value")


def _checked(quota: int, period: int, source: str) -> tuple[int, int]:
    if quota < 0 or period <= 0:
        raise MalformedError(f"{source}: a quota of {quota} us in {period} us cannot be")
    return quota, period


def above(path: str) -> list[str]:
    """A cgroup and those it is in, itself first and the root last: in a namespace of our own that is a cgroup too."""
    parts = [part for part in path.split("/") if part]
    return ["/" + "/".join(parts[:n]) for n in range(len(parts), -1, -1)]
