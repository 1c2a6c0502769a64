"""What CPUs did between readings of softnet: differences, over counters that begin again and CPUs that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.softnet import WRAP, CpuWork, Softnet

WRAPPING = ("processed", "dropped", "squeezed", "steered", "flow_limited", "net_rx")
GROWING = (
    "total_ms", "idle_ms", "softirq_ms", "irq_ms", "steal_ms", "thread_run_ns", "thread_wait_ns",
)  # fmt: skip
Series = Sequence[tuple[Moment, Softnet]]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a window. by_cpu: the rise of each counter, of CPUs online throughout; `waiting` is that at its end."""

    begin: Moment
    end: Moment
    first: Softnet
    last: Softnet
    by_cpu: dict[int, CpuWork]

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end.boot_seconds - self.begin.boot_seconds

    def received(self, device: str) -> int | None:
        """Packets that a device received; None if it was not there all the time, was made anew or does not say."""
        before, then = self.first.devices.get(device), self.last.devices.get(device)
        if before is None or then is None or before.received is None or then.received is None:
            return None
        return then.received - before.received if then.received >= before.received else None


def risen(before: CpuWork, then: CpuWork) -> CpuWork:
    """The rise of each counter of one CPU; None where one of the readings has none."""
    changed: dict[str, int | None] = {}
    for name in (*WRAPPING, *GROWING):
        old, new = getattr(before, name), getattr(then, name)
        if old is None or new is None:
            changed[name] = None
        else:
            # idle time may be a tick less than before (get_cpu_idle_time_us, kernel/time/tick-sched.c).
            changed[name] = (new - old) % WRAP if name in WRAPPING else max(new - old, 0)
    return msgspec.structs.replace(then, **changed)


def added(one: CpuWork, other: CpuWork) -> CpuWork:
    """Two rises of one CPU that follow each other."""
    sums = {
        name: None if (a := getattr(one, name)) is None or (b := getattr(other, name)) is None else a + b
        for name in (*WRAPPING, *GROWING)
    }
    return msgspec.structs.replace(other, **sums)


def parts(series: Series, seconds: float = 0.0) -> list[Part]:
    """The window cut at its readings into parts of at least so long; what is left over belongs to the last one."""
    found: list[Part] = []
    pending: Part | None = None
    for (begin, before), (end, then) in pairwise(series):
        step = Part(begin=begin, end=end, first=before, last=then, by_cpu=_step(before, then))
        pending = step if pending is None else joined(pending, step)
        if pending.seconds >= seconds:
            found.append(pending)
            pending = None
    if pending is not None:
        found = [*found[:-1], joined(found[-1], pending)] if found else [pending]
    return found


def joined(one: Part, other: Part) -> Part:
    """Two parts that follow each other, as one."""
    by_cpu = {cpu: added(work, other.by_cpu[cpu]) for cpu, work in one.by_cpu.items() if cpu in other.by_cpu}
    return Part(begin=one.begin, end=other.end, first=one.first, last=other.last, by_cpu=by_cpu)


def _step(before: Softnet, then: Softnet) -> dict[int, CpuWork]:
    return {cpu: risen(before.by_cpu[cpu], work) for cpu, work in then.by_cpu.items() if cpu in before.by_cpu}
