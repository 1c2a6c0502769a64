"""Arbitrary nodes whose CPUs were watched: well typed, and half of them with somebody who holds one."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.stalls import CpuDelays, Duty, Holder, Mode, Stack, Stall, StallKind, Stalls, Task, delay_spans

from .arbitrary import COUNTS, PIDS, TEXTS, Dice, Kinds, changing, workloads
from .nodes import FROM_BOOT
from .stalled import ALLOWS, DUMPS, INTERRUPTS, READS, STARTED

WAITS = (0.01, 0.012, 0.03, 0.1, 0.15, 4.0)
SOFTIRQS = (None, None, None, "NET_RX", "TIMER", "RCU", "softirq 12")
CALLS = (None, "read", "sendto", "system call 600")
FEW = (0, 1, 2, 3, 7, 40)
PATHS = ((), READS, DUMPS, ALLOWS, INTERRUPTS, (None,), (None, "f"), TEXTS)


def stalled_recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {"stalls": stalls, "workloads": workloads}
    found = changing(d, kinds, later, (0.0, 1.0, 30.0, 3_600.0), moments)
    return replace(found, node=replace(found.node, virtual_machine=d.one((True, False, None))))


def stalls(d: Dice) -> Stalls:
    task = any_task(d)
    found = [any_stall(d, task if d.random() < 0.6 else any_task(d)) for _ in range(d.randint(0, 6))]
    hertz = d.one((250, 250, 250, 0))
    return Stalls(
        stalls=tuple(found),
        cpus=d.several(3, lambda: cpu(d)),
        watched_seconds=d.one((0.0, 1.0, 60.0)),
        started_seconds=FROM_BOOT,
        threshold_seconds=0.01,
        hertz=hertz,
        lost=d.one((0, 0, 0, 7)),
        suppressed=d.one((0, 0, 0, 7)),
        left_out=d.one((0, 0, 0, 7)),
        sampling_reason=d.one((None, *TEXTS)) if not hertz else None,
        symbols_reason=d.one((None, None, None, *TEXTS)),
    )


def any_task(d: Dice) -> Task:
    kernel = d.random() < 0.3
    return Task(
        pid=d.perhaps(lambda: d.one(PIDS)),
        tid=d.perhaps(lambda: d.one(PIDS)),
        comm=d.one(TEXTS),
        thread=d.one(TEXTS),
        process_started_seconds=d.one((STARTED, STARTED - 50, 0.0)),
        cgroup_id=d.one((None, 1, 2)),
        kernel_thread=kernel,
        real_time_priority=d.one((None, None, None, 0, 98)),
        duty=d.one((None, *get_args(Duty))) if kernel else None,
    )


def any_stall(d: Dice, task: Task) -> Stall:
    wait = d.one(WAITS)
    holders = tuple(holder(d, task if d.random() < 0.6 else any_task(d)) for _ in range(d.randint(0, 4)))
    expected = round(wait * 250)
    return Stall(
        ended_boot_seconds=FROM_BOOT + d.one((0.0, 1.0, 1.5)),
        cpu=d.one((0, 1, 63)),
        kind=d.one(get_args(StallKind)),
        wait_seconds=wait,
        end=holder(d, task if d.random() < 0.5 else any_task(d)),
        holders=holders,
        samples=d.one((0, expected, expected, expected, expected + 3)),
        samples_cut=d.random() < 0.1,
        expected_samples=expected,
    )


def holder(d: Dice, task: Task) -> Holder:
    n = d.one(FEW)
    mode: Mode = d.one(get_args(Mode))
    stacks = d.several(2, lambda: Stack(functions=d.one(PATHS), samples=d.one(FEW)))
    return Holder(
        task=task, mode=mode, system_call=d.one(CALLS), softirq=d.one(SOFTIRQS), samples=n, seconds=n / 250,
        stayed=d.one((None, True, True, False)), stacks=stacks,
    )  # fmt: skip


def cpu(d: Dice) -> CpuDelays:
    return CpuDelays(
        cpu=d.one((0, 1, 63)),
        delays=delay_spans([d.one((0, 0, *COUNTS)) for _ in range(d.randint(0, 64))]),
        longest_seconds=d.one((0.0, 0.001, *WAITS)),
        stolen_seconds=d.one((None, 0.0, 0.01, 5.0)),
    )


def later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """Numbers that grow, stalls of its own, or a recorder that was started anew."""
    if not isinstance(sample, Stalls):
        return sample
    if d.random() < 0.1:
        return stalls(d)
    grown = tuple(
        replace(c, stolen_seconds=None if c.stolen_seconds is None else c.stolen_seconds + moment) for c in sample.cpus
    )
    return replace(sample, watched_seconds=sample.watched_seconds + moment, cpus=grown, lost=sample.lost + moment // 3)
