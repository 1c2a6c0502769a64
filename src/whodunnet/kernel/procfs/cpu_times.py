"""/proc/stat: what each CPU spent its time on, in steps of 1/USER_HZ s (show_stat, fs/proc/stat.c; proc_stat(5))."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.cpus import CPUS_MAX
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.roots import Roots

_CPU: Final = re.compile(rb"cpu([0-9]{1,5}) ")
_LIMIT_BYTES: Final = 8 << 20  # a number for every interrupt, most of them 0
_FIELDS: Final = 8  # user nice system idle iowait irq softirq steal; guests are in user and nice


class CpuTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds since boot. idle: waiting for disks included. total: of everything, steal included."""

    total_ms: int
    idle_ms: int
    irq_ms: int
    softirq_ms: int
    steal_ms: int


def parse_cpu_times(data: bytes, source: str) -> dict[int, CpuTimes]:
    """By CPU, of those that are online. Raises MalformedError naming source and CPU."""
    found: dict[int, CpuTimes] = {}
    for line in data.split(b"\n"):
        match = _CPU.match(line)
        if match is not None and int(match[1]) < CPUS_MAX:
            found[int(match[1])] = _times(line, source)
    if not found:
        raise MalformedError(f"{source}: has a line for no CPU: {shown(data)}")
    return found


def read_cpu_times(roots: Roots) -> dict[int, CpuTimes]:
    """Read stat. Raises UnreadableError."""
    path = roots.proc / "stat"
    return parse_cpu_times(read_bytes(path, _LIMIT_BYTES), str(path))


def _times(line: bytes, source: str) -> CpuTimes:
    name, *words = line.split()
    if len(words) < _FIELDS:
        raise MalformedError(f"{source}: {name.decode()} has {len(words)} numbers, fewer than {_FIELDS}")
    ms = [integer(word, source, name.decode()) * 1000 // TICKS_PER_SECOND for word in words[:_FIELDS]]
    if min(ms) < 0:
        raise MalformedError(f"{source}: {name.decode()} has a time below zero: {shown(line)}")
    return CpuTimes(total_ms=sum(ms), idle_ms=ms[3] + ms[4], irq_ms=ms[5], softirq_ms=ms[6], steal_ms=ms[7])
