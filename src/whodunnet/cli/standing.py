"""What is known before the window ends: fill levels, limits and old log lines."""

from __future__ import annotations

from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.report.quantity import duration

SUBJECTS = {
    "tcp-out-of-memory": "TCP out of memory",
    "too-many-orphans": "too many orphaned sockets",
    "conntrack-table-full": "a full conntrack table",
    "conntrack-table-full-netns": "a full conntrack table of another network namespace",
    "syn-flooding": "more connects to a port than its listener has room for",
    "neighbour-table-full": "a full table of neighbours (IPv4)",
    "neighbour-table-full-ipv6": "a full table of neighbours (IPv6)",
    "file-max": "the limit of open files of the whole node",
}
"""Kinds of lines in plain words."""


def standing_lines(snapshot: Snapshot, seconds: float) -> list[str]:
    """One line a fact, and what happens next."""
    lines: list[str] = []
    for sample in snapshot.samples.values():
        if isinstance(sample, TcpMemory):
            lines += _memory(sample)
        elif isinstance(sample, KernelLog):
            lines += _log(sample, snapshot)
        elif isinstance(sample, Failure):
            lines.append(f"Not read: {sample.reason}")
    if seconds:
        lines.append(f"Watching for {seconds:g} s ...")
    return lines


def _memory(m: TcpMemory) -> list[str]:
    if m.max_pages is None:
        return [f"TCP memory {m.used_pages:,} pages; the limits are not visible from this network namespace"]
    percent = 100 * m.used_pages // m.max_pages
    pressure = ", under pressure" if m.under_pressure else ""
    return [
        f"TCP memory {m.used_pages:,} of {m.max_pages:,} pages ({percent} % of the maximum{pressure}), "
        f"{m.alloc_sockets:,} sockets, {m.orphans:,} of them orphans"
    ]


def _log(log: KernelLog, snapshot: Snapshot) -> list[str]:
    return [
        f"Kernel log: {count:,} {'line' if count == 1 else 'lines'} about {SUBJECTS.get(kind, kind)}, "
        f"the newest {_age(log, kind, snapshot)}"
        for kind, count in sorted(log.counts.items())
    ]


def _age(log: KernelLog, kind: str, snapshot: Snapshot) -> str:
    times = [line.boot_seconds for line in log.lines if line.kind == kind and line.boot_seconds is not None]
    return f"{duration(snapshot.at.boot_seconds - times[-1])} ago" if times else "at an unknown time"
