"""The kernel's ksoftirqd threads and how long each ran and waited (/proc/<pid>/schedstat; sched-stats.rst)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cpus import CPUS_MAX
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.procfs.kernel_threads import has_kernel_flag
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.roots import Roots

PROCESSES_MAX: Final = 8192
"""Of the lowest pids: these threads are made at boot, before any program runs, about eight kernel threads a CPU."""
_NAME: Final = re.compile(rb"[0-9]+ \(ksoftirqd/([0-9]{1,5})\) ")


class Schedstat(msgspec.Struct, frozen=True, kw_only=True):
    """run_ns: time on a CPU. wait_ns: time ready to run while something else did. Both since the thread was made."""

    run_ns: int
    wait_ns: int


def parse_schedstat(data: bytes, source: str) -> Schedstat:
    """Parse schedstat of one task. Raises MalformedError naming source."""
    words = data.split()
    if len(words) != 3:
        raise MalformedError(f"{source}: should be three numbers and is {shown(data)}")
    run, wait = (integer(word, source, item) for word, item in zip(words, ("run time", "wait time"), strict=False))
    if run < 0 or wait < 0:
        raise MalformedError(f"{source}: has a time below zero: {shown(data)}")
    return Schedstat(run_ns=run, wait_ns=wait)


def parse_ksoftirqd(data: bytes) -> int | None:
    """The CPU whose ksoftirqd has this stat, None for all other tasks: anybody may call a process so."""
    match = _NAME.match(data)
    if match is None or not has_kernel_flag(data[match.end() :].split()):
        return None
    return int(match[1]) if int(match[1]) < CPUS_MAX else None


def find_ksoftirqds(roots: Roots, wanted: frozenset[int]) -> dict[int, int]:
    """Pid by CPU, of those wanted that are in sight. Raises UnreadableError if /proc cannot be listed."""
    found: dict[int, int] = {}
    for pid in list_pids(roots.proc)[:PROCESSES_MAX]:
        try:
            cpu = parse_ksoftirqd(read_bytes(roots.proc / str(pid) / "stat"))
        except UnreadableError:
            continue
        if cpu is not None and cpu in wanted:
            found[cpu] = pid
            if len(found) == len(wanted):
                break
    return found


def read_schedstat(roots: Roots, pid: int) -> Schedstat:
    """Read schedstat, which any user may. Raises UnreadableError: missing-file without CONFIG_SCHED_INFO."""
    path = roots.proc / str(pid) / "schedstat"
    return parse_schedstat(read_bytes(path), str(path))
