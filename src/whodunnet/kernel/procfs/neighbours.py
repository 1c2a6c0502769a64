"""The kernel's tables of neighbours: /proc/net/stat/arp_cache and ndisc_cache, and their thresholds.

Both are of the whole kernel, and only the first network namespace shows them (neigh_table_init and
neigh_sysctl_register, net/core/neighbour.c).
"""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.conntrack import parse_number
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

FILES: Final = {4: "arp_cache", 6: "ndisc_cache"}
THRESHOLDS: Final = ("gc_thresh1", "gc_thresh2", "gc_thresh3")
COUNTERS: Final = ("allocs", "destroys", "res_failed", "forced_gc_runs", "unresolved_discards", "table_fulls")
"""Columns kept, summed over CPUs; an older kernel has fewer (table_fulls since Linux 4.3)."""


class NeighbourStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """entries: in the table now, of all namespaces. counters: since boot; by name, see COUNTERS."""

    entries: int
    counters: dict[str, int]


def read_statistics(roots: Roots, family: int, task: str) -> NeighbourStatistics:
    """As a task of procfs sees them: "thread-self" or a pid. Raises UnreadableError."""
    path = roots.proc / task / "net/stat" / FILES[family]
    return parse_statistics(read_bytes(path), str(path))


def read_thresholds(roots: Roots, family: int) -> tuple[int, int, int]:
    """The three gc_thresh, as the calling thread's namespace shows them. Raises UnreadableError."""
    found = []
    for name in THRESHOLDS:
        path = roots.proc / f"sys/net/ipv{family}/neigh/default" / name
        number = parse_number(read_bytes(path), str(path))
        if number < 0:
            raise UnreadableError(f"{path} is {number}")
        found.append(number)
    return found[0], found[1], found[2]


def parse_statistics(data: bytes, source: str) -> NeighbourStatistics:
    """A line of names, then one for each CPU in hexadecimal, all with the same `entries`. Raises MalformedError."""
    lines = [line.split() for line in data.splitlines()]
    if len(lines) < 2 or not lines[0]:
        raise MalformedError(f"{source}: should be names and a line for each CPU, and is {shown(data)}")
    names = [name.decode("ascii", errors="replace") for name in lines[0]]
    sums = dict.fromkeys(names, 0)
    for line in lines[1:]:
        if len(line) != len(names):
            raise MalformedError(f"{source}: {len(names)} names and {len(line)} numbers")
        for name, word in zip(names, line, strict=True):
            number = _hexadecimal(word, source, name)
            sums[name] = number if name == "entries" else sums[name] + number
    if "entries" not in sums:
        raise MalformedError(f"{source}: entries is missing")
    return NeighbourStatistics(entries=sums["entries"], counters={n: sums[n] for n in COUNTERS if n in sums})


def _hexadecimal(word: bytes, source: str, name: str) -> int:
    try:
        # 16 digits hold any 64-bit number; int() alone would also take "-1" and "1_0".
        if not word.isalnum() or len(word) > 16:
            raise ValueError
        return int(word, 16)
    except ValueError as error:
        raise MalformedError(f"{source}: {name} should be hexadecimal and is {shown(word)}") from error
