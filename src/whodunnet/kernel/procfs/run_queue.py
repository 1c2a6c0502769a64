"""How many tasks want a CPU: /proc/stat and /proc/loadavg; how long they waited for one: /proc/schedstat."""

from __future__ import annotations

import re
from typing import Final

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots

_RUNNABLE: Final = re.compile(rb"^procs_running ([0-9]{1,10})$", re.MULTILINE)
_LOAD: Final = re.compile(rb"([0-9]{1,9}\.[0-9]{2}) ")
_DELAY_FIELD: Final = 8  # rq_sched_info.run_delay (show_schedstat, kernel/sched/stats.c)
_SCHEDSTAT_BYTES_MAX: Final = 8 << 20  # a line for each domain of each CPU


def parse_runnable(data: bytes, source: str) -> int:
    """Tasks that run or are ready to, ours among them. Raises MalformedError naming source."""
    match = _RUNNABLE.search(data)
    if match is None:
        raise MalformedError(f"{source}: procs_running is missing")
    return int(match[1])


def parse_load(data: bytes, source: str) -> float:
    """The load average of a minute. Raises MalformedError naming source."""
    match = _LOAD.match(data)
    if match is None:
        raise MalformedError(f"{source}: should begin with a load average and is {shown(data)}")
    return float(match[1])


def parse_delay_ns(data: bytes, source: str) -> int:
    """How long tasks waited in the run queues of all CPUs. Raises MalformedError naming source."""
    total = 0
    for line in data.split(b"\n"):
        if line.startswith(b"cpu"):
            words = line.split()
            if len(words) <= _DELAY_FIELD:
                raise MalformedError(f"{source}: a CPU has {len(words) - 1} numbers: {shown(line)}")
            total += max(integer(words[_DELAY_FIELD], source, "the wait of a CPU"), 0)
    return total


def read_runnable(roots: Roots) -> int:
    """Raises UnreadableError."""
    path = roots.proc / "stat"
    return parse_runnable(read_bytes(path, 8 << 20), str(path))


def read_load(roots: Roots) -> float:
    """Raises UnreadableError."""
    path = roots.proc / "loadavg"
    return parse_load(read_bytes(path), str(path))


def read_delay_ns(roots: Roots) -> int:
    """Raises UnreadableError: missing-file without CONFIG_SCHEDSTATS."""
    path = roots.proc / "schedstat"
    return parse_delay_ns(read_bytes(path, _SCHEDSTAT_BYTES_MAX), str(path))
