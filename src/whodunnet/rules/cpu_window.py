"""What the CPUs of a node did between the first reading and the last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from whodunnet.model.cpu_pressure import CpuPressure
from whodunnet.model.sample import Moment

Series = Sequence[tuple[Moment, CpuPressure]]
UNTOLD_MAX: Final = 0.1
"""An interval does not count if for more than this share of what they did it is not known how long they waited."""


class CpuWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Differences of what the kernel counts.

    pressure: share of the time in which any task waited; None where the kernel does not count it. busy, stolen: shares
    of the time of all CPUs. used_ms: of all CPUs, without what the hypervisor took. runnable: tasks that ran or were
    ready, for each CPU, on average of all readings. waited_ms: how long tasks waited, all together, as far as processes
    say, of which the threads of those that slept at a reading are not known. interrupts: share of the time of all CPUs,
    without what ksoftirqd did, which is a thread's as well (account_system_index_time, kernel/sched/cputime.c).
    measured_share: of what CPUs did while processes were read, the share that these account for; None: not read.
    """

    begin: Moment
    end: Moment
    series: tuple[CpuPressure, ...]
    pressure: float | None
    busy: float
    stolen: float
    interrupts: float
    runnable: float
    waited_ms: int
    measured_seconds: float
    measured_share: float | None

    @property
    def seconds(self) -> float:
        return self.end.boot_seconds - self.begin.boot_seconds

    @property
    def last(self) -> CpuPressure:
        return self.series[-1]

    @property
    def begun(self) -> dict[int, int]:
        """What processes used that began within the window: those that live only for a moment wait for one another."""
        every = [consumer for sample in self.series for consumer in sample.consumers]
        found: dict[int, int] = {}
        for consumer in every:
            if consumer.started_seconds > self.begin.boot_seconds:
                found[consumer.pid] = found.get(consumer.pid, 0) + consumer.cpu_ms
        return found

    def waiting_besides(self, pids: Collection[int], *, known: bool = False) -> float | None:
        """How many tasks waited at a time, besides these processes; None: not known.

        known: by what processes say, without those that are gone. So it is too where the wait of these is not known.
        """
        parts = [] if known else [part for part in self._parts(pids) if part is not None]
        if parts:
            seconds = sum(seconds for _, seconds in parts)
            return round(max(sum(waited for waited, _ in parts), 0) / 1000 / seconds, 6)
        if self.measured_seconds <= 0:
            return None
        waits = sum(c.wait_ms or 0 for sample in self.series for c in sample.consumers if c.pid in pids)
        return round(max(self.waited_ms - waits, 0) / 1000 / self.measured_seconds, 6)

    def _parts(self, pids: Collection[int]) -> Iterator[tuple[int, float] | None]:
        """Of each interval how long others waited, and its length; None where it is not known how long these did."""
        for before, then in pairwise(self.series):
            if before.delay_ms is None or then.delay_ms is None or not then.measured_seconds:
                continue
            mine = [consumer for consumer in then.consumers if consumer.pid in pids]
            untold = sum(consumer.cpu_ms for consumer in mine if consumer.wait_ms is None)
            is_told = untold <= UNTOLD_MAX * sum(consumer.cpu_ms for consumer in mine)
            waited = then.delay_ms - before.delay_ms - sum(consumer.wait_ms or 0 for consumer in mine)
            yield (waited, then.measured_seconds) if is_told else None

    def running_besides(self, cpu_ms: int, *, known: bool = False) -> float:
        """How many CPUs others used, besides those that used so much. known: of processes that were there, alone."""
        if self.measured_seconds <= 0:
            return 0.0
        did = (self.busy - self.stolen - self.interrupts) * self.last.cpus * self.measured_seconds
        whole = did * (self.measured_share or 0.0) if known else did
        return round(max(whole - cpu_ms / 1000, 0.0) / self.measured_seconds, 6)


def _in_threads_ms(series: Iterable[CpuPressure]) -> int:
    """What ksoftirqd did. It is called so in every kernel (kernel/softirq.c)."""
    every = (consumer for sample in series for consumer in sample.consumers if consumer.kernel_thread)
    return sum(consumer.cpu_ms for consumer in every if consumer.comm.startswith("ksoftirqd/"))


def window_of(series: Series) -> CpuWindow:
    """series: two readings at least."""
    (begin, first), (end, last) = series[0], series[-1]
    samples = tuple(sample for _, sample in series)
    seconds = max(end.boot_seconds - begin.boot_seconds, 1e-3)
    total = max(last.total_ms - first.total_ms, 1)
    pressure = None
    if first.some_us is not None and last.some_us is not None:
        pressure = min(max(last.some_us - first.some_us, 0) / 1e6 / seconds, 1.0)
    measured = [sample for sample in samples if sample.measured_seconds]
    measured_seconds = sum(sample.measured_seconds or 0.0 for sample in measured)
    busy = 1 - min(max(last.idle_ms - first.idle_ms, 0) / total, 1.0)
    stolen = min(max(last.steal_ms - first.steal_ms, 0) / total, 1.0)
    interrupts = min(max(last.softirq_ms - first.softirq_ms - _in_threads_ms(measured), 0) / total, 1.0)
    done = (busy - stolen - interrupts) * last.cpus * measured_seconds * 1000
    return CpuWindow(
        begin=begin,
        end=end,
        series=samples,
        pressure=None if pressure is None else round(pressure, 6),
        busy=round(busy, 6),
        stolen=round(stolen, 6),
        interrupts=round(interrupts, 6),
        runnable=sum(sample.runnable or 0 for sample in samples) / len(samples) / max(last.cpus, 1),
        waited_ms=sum(sample.waited_ms + sum(c.wait_ms or 0 for c in sample.consumers) for sample in measured),
        measured_seconds=measured_seconds,
        measured_share=min(sum(sample.used_ms for sample in measured) / done, 1.0) if measured and done > 0 else None,
    )
