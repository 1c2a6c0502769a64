"""Whether tasks wait for a CPU; only where they do, who uses the CPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Final, NamedTuple

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.kernel.procfs.cpu_times import CpuTimes, read_cpu_times
from whodunnet.kernel.procfs.pressure import read_cpu_pressure
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.procfs.process_times import ProcessTimes, read_every_process, read_own_wait_ns
from whodunnet.kernel.procfs.run_queue import read_delay_ns, read_load, read_runnable
from whodunnet.kernel.roots import Roots
from whodunnet.model.cpu_pressure import Consumer, CpuPressure

CONSUMERS_MAX: Final = 64
WAITERS_MAX: Final = 16
"""Besides these, of those that waited most."""
LOOK_FROM: Final = 0.05
"""Processes are read where tasks waited for at least this share of the time, or CPUs were idle for no more than it."""
BUSY_FROM: Final = 0.05
"""Of whoever used so much of a CPU, since the reading before or since it began, the wait of every thread is read."""
NS: Final = 1_000_000
LOG_DAEMONS: Final = frozenset({
    "systemd-journal", "systemd-journald", "rsyslogd", "rs:main Q:Reg", "in:imklog", "syslog-ng", "syslogd", "klogd",
    "fluentd", "fluent-bit", "td-agent", "td-agent-bit", "vector", "promtail", "filebeat", "alloy", "otelcol",
    "otelcol-contrib", "logstash", "dmesg",
})  # fmt: skip
"""As the kernel has their names, cut to 15 characters."""


class _Processes(NamedTuple):
    """One reading of all processes."""

    at: float
    found: Mapping[int, ProcessTimes]


class _Rise(NamedTuple):
    """What a process took between two readings. same: it in the first one, None if it began in between."""

    cpu_ms: int
    times: ProcessTimes
    same: ProcessTimes | None


class CpuPressureCollector:
    """Reads pressure, run queue and times of CPUs; of processes only under pressure, as that takes time itself."""

    name: ClassVar[str] = "cpu_pressure"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._before: tuple[float, CpuPressure] | None = None
        self._processes: _Processes | None = None

    def collect(self) -> CpuPressure:
        """One reading. Raises UnreadableError if the times of CPUs cannot be read."""
        now, sample = time.monotonic(), self._cpus()
        before, self._before = self._before, (now, sample)
        if not _is_short(before, now, sample):
            self._processes = None
            return sample
        delay = unless_unreadable(partial(read_delay_ns, self._roots))
        earlier, booted = self._processes, time.clock_gettime(time.CLOCK_BOOTTIME)
        found, left_out = read_every_process(
            self._roots,
            sleepers=delay is None,
            is_busy=lambda times: (
                _was_ready(times, earlier) or (delay is not None and _is_busy(times, now, booted, earlier))
            ),
        )
        found.pop(own_pid(self._roots), None)  # we wait and work because we look
        self._processes = _Processes(now, found)
        others = None if delay is None else max(delay - read_own_wait_ns(self._roots), 0) // NS
        sample = msgspec.structs.replace(sample, delay_ms=others, left_out=left_out)
        return sample if earlier is None else _with_consumers(sample, earlier, self._processes)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _cpus(self) -> CpuPressure:
        times = read_cpu_times(self._roots)
        pressure = unless_unreadable(partial(read_cpu_pressure, self._roots))
        return CpuPressure(
            cpus=len(times),
            some_us=pressure.total_us if pressure else None,
            some_avg10=pressure.avg10 if pressure else None,
            runnable=unless_unreadable(partial(read_runnable, self._roots)),
            load=unless_unreadable(partial(read_load, self._roots)),
            total_ms=_sum(times, "total_ms"),
            idle_ms=_sum(times, "idle_ms"),
            steal_ms=_sum(times, "steal_ms"),
            softirq_ms=_sum(times, "softirq_ms") + _sum(times, "irq_ms"),
        )


def own_pid(roots: Roots) -> int:
    """Ours, as it is in that procfs; 0 if it is not there."""
    try:
        return int(os.readlink(f"{roots.proc}/self"))  # noqa: PTH115 - no path is wanted
    except (OSError, ValueError):
        return 0


def _sum(times: Mapping[int, CpuTimes], name: str) -> int:
    return sum(getattr(one, name) for one in times.values())


def _is_short(before: tuple[float, CpuPressure] | None, now: float, sample: CpuPressure) -> bool:
    """Whether tasks waited for a CPU of late; where the kernel does not count that, whether CPUs were never idle."""
    if sample.some_avg10 is not None and sample.some_avg10 >= 100 * LOOK_FROM:
        return True
    if before is None:
        return sample.some_avg10 is None and (sample.runnable or 0) > sample.cpus
    at, earlier = before
    if sample.some_us is not None and earlier.some_us is not None:
        return sample.some_us - earlier.some_us >= LOOK_FROM * 1e6 * (now - at)
    total, idle = sample.total_ms - earlier.total_ms, sample.idle_ms - earlier.idle_ms
    return total > 0 and idle <= LOOK_FROM * total


def _was_ready(times: ProcessTimes, before: _Processes | None) -> bool:
    """Whether it ran or waited at the reading before, so that all its threads were read then."""
    earlier = before.found.get(times.pid) if before is not None else None
    return earlier is not None and earlier.running and earlier.started_ticks == times.started_ticks


def _is_busy(times: ProcessTimes, now: float, booted: float, before: _Processes | None) -> bool:
    """Whether it used much of a CPU since the reading before, else since it began. booted: now, on the boot clock."""
    earlier = before.found.get(times.pid) if before is not None else None
    if before is not None and earlier is not None and earlier.started_ticks == times.started_ticks:
        return times.cpu_ms - earlier.cpu_ms >= 1000 * BUSY_FROM * (now - before.at)
    return times.cpu_ms >= 1000 * BUSY_FROM * max(booted - times.started_ticks / TICKS_PER_SECOND, 0)


def _with_consumers(sample: CpuPressure, before: _Processes, then: _Processes) -> CpuPressure:
    """With who took most between two readings. A process that began in between has taken all it has since."""
    rises: list[_Rise] = []
    for pid, times in then.found.items():
        earlier = before.found.get(pid)
        same = earlier if earlier is not None and earlier.started_ticks == times.started_ticks else None
        rises.append(_Rise(max(times.cpu_ms - (same.cpu_ms if same else 0), 0), times, same))
    rises.sort(key=lambda rise: (-rise.cpu_ms, rise.times.pid))
    most = [rise for rise in rises[:CONSUMERS_MAX] if rise.cpu_ms]
    most, others = _with_waiters(most, rises[len(most) :])
    consumers, others = _with_families(most, others, whole=sample.delay_ms is not None)
    return msgspec.structs.replace(
        sample,
        measured_seconds=round(then.at - before.at, 3),
        consumers=tuple(consumers),
        processes=len(rises),
        used_ms=sum(rise.cpu_ms for rise in rises),
        waited_ms=sum(_wait_ms(rise) or 0 for rise in others),
    )


def _with_waiters(most: list[_Rise], others: list[_Rise]) -> tuple[list[_Rise], list[_Rise]]:
    """Also those that waited most of the others, and who is left: who waits for long takes next to nothing."""
    families = {(rise.times.parent, rise.times.comm) for rise in most}
    apart = [rise for rise in others if rise.times.whole and (rise.times.parent, rise.times.comm) not in families]
    waited = sorted((-wait, rise.times.pid, rise) for rise in apart if (wait := _wait_ms(rise)))
    added = [rise for _, _, rise in waited[:WAITERS_MAX]]
    pids = {rise.times.pid for rise in added}
    return [*most, *added], [rise for rise in others if rise.times.pid not in pids]


def _with_families(
    most: Sequence[_Rise], others: Sequence[_Rise], *, whole: bool
) -> tuple[list[Consumer], list[_Rise]]:
    """Those with most, each with the others of its name that have its parent; and who is left."""
    families: dict[tuple[int, str], list[_Rise]] = {}
    for rise in reversed(most):
        families[rise.times.parent, rise.times.comm] = []
    left: list[_Rise] = []
    for rise in others:
        took_part = rise.cpu_ms or _wait_ms(rise)
        family = families.get((rise.times.parent, rise.times.comm)) if took_part else None
        (left if family is None else family).append(rise)
    found = []
    for rise in most:
        family = families.pop((rise.times.parent, rise.times.comm), [])
        found.append(_consumer(rise, family, whole=whole))
    return found, left


def _consumer(first: _Rise, family: Sequence[_Rise], *, whole: bool) -> Consumer:
    """whole: of its wait only that of all threads, as it is taken from that of all tasks."""
    times, every = first.times, (first, *family)
    waits = [_wait_ms(rise) if rise.times.whole or not whole else None for rise in every]
    return Consumer(
        pid=times.pid,
        parent=times.parent,
        comm=times.comm,
        started_seconds=times.started_ticks / TICKS_PER_SECOND,
        cpu_ms=sum(rise.cpu_ms for rise in every),
        kernel_ms=sum(max(r.times.kernel_ms - (r.same.kernel_ms if r.same else 0), 0) for r in every),
        wait_ms=None if None in waits else sum(wait or 0 for wait in waits),
        nice=times.nice,
        log_daemon=times.comm in LOG_DAEMONS,
        kernel_thread=times.kernel_thread,
        on_cpu=times.on_cpu,
        realtime=times.realtime,
        more=len(family),
    )


def _wait_ms(rise: _Rise) -> int | None:
    """How long it waited in between: of all its threads where both readings have those, else of the first.

    One that began in between has waited all it has since, if all its threads were read.
    """
    _, times, same = rise
    if same is None and times.whole and times.wait_ns is not None:
        return times.wait_ns // NS
    if same is None or times.wait_ns is None or same.wait_ns is None or times.whole != same.whole:
        return None
    return max(times.wait_ns - same.wait_ns, 0) // NS
