"""What the stall recorder costs, with it on and off in turn: `python -m bench.stalls`, as root, prints JSON.

Work on one CPU, in CPU time: packets over a veth pair, where each takes a softirq, and no packets at all. And a CPU
that has nothing to do.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import NamedTuple

from bench.hooks import NAME, Runs, count_runs, empty_programs
from bench.passes import enable_statistics
from bench.veth import Link, Work, link
from whodunnet.kernel.bpf.stalls import PROGRAMS, Settings, StallRecorder
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support

TRACEPOINTS = ("softirq_raise", "softirq_entry")
ROUNDS = 48
TIMES: dict[Work, int] = {"exchange": 2000, "send": 1200, "count": 4000}
"""In each part of a round: short, because other work on the machine changes the speed from second to second."""
COUNTED_ROUNDS = 20
IDLE_ROUNDS, IDLE_SECONDS = 30, 0.25
QUIET_SHARE = 0.02
"""Of its time, that a CPU without work may be busy in the quieter half of the rounds; with more it is not idle."""
TIMER_LIST = Path("/proc/timer_list")

On = Callable[[], AbstractContextManager[object]]


class Cost(NamedTuple):
    """Of one kind of work. seconds: of CPU for each, nothing attached. lost: share of the rate, by the recorder, and by
    programs that return at once on the same tracepoints; medians of the rounds.
    """

    seconds: float
    lost: float
    least_lost: float


class Idle(NamedTuple):
    """busy: share of its time that an idle CPU is busy because of the recorder, None where it was never idle.
    interrupts: of its clock, in a second, with the recorder and without.
    """

    busy: float | None
    interrupts: tuple[float, float]


class Numbers(NamedTuple):
    """programs: as the kernel counted while there were exchanges. counting: what the count itself adds to each run."""

    exchange: Cost
    send: Cost
    busy: Cost
    idle: Idle
    programs: dict[str, Runs]
    exchanges: int
    counting_nanoseconds: float
    load_seconds: float


def measure() -> Numbers:
    """Everything. Raises UnreadableError where BPF is refused, ValueError where there is no second CPU."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        raise ValueError("no second CPU to measure from")
    support = read_support(Roots())
    ours, theirs = sorted(allowed)[:2]
    begin = time.perf_counter()
    recorder(support).close()
    loaded = time.perf_counter() - begin
    os.sched_setaffinity(0, {ours})
    try:
        with link(theirs) as made:
            exchange, send, busy = (cost(made, work, support) for work in TIMES)
            programs = counted(made, lambda: closing(recorder(support)))
            empty = counted(made, lambda: empty_programs(TRACEPOINTS))[NAME]
        return Numbers(
            exchange=exchange,
            send=send,
            busy=busy,
            idle=idle(theirs, support),
            programs=programs,
            exchanges=COUNTED_ROUNDS * TIMES["exchange"],
            counting_nanoseconds=empty.nanoseconds / empty.times,
            load_seconds=loaded,
        )
    finally:
        os.sched_setaffinity(0, allowed)


def recorder(support: Support) -> StallRecorder:
    return StallRecorder(support, Roots(), Settings())


def cost(made: Link, work: Work, support: Support) -> Cost:
    """Without, with programs that return at once, and with the recorder: in each round in another order."""
    states: tuple[On, ...] = (nullcontext, lambda: empty_programs(TRACEPOINTS), lambda: closing(recorder(support)))
    rounds: list[list[float]] = []
    for n in range(ROUNDS):
        seconds = [0.0] * len(states)
        for place in range(len(states)):
            chosen = (n + place) % len(states)
            with states[chosen]():
                seconds[chosen] = made.seconds(work, TIMES[work])
        rounds.append(seconds)
    return Cost(
        seconds=statistics.median(off for off, _, _ in rounds),
        lost=statistics.median(1 - off / on for off, _, on in rounds),
        least_lost=statistics.median(1 - off / least for off, least, _ in rounds),
    )


def counted(made: Link, on: On) -> dict[str, Runs]:
    """Time and runs of each program while there are exchanges, as the kernel counts; of those that ran."""
    with on():
        descriptor = enable_statistics()
        try:
            for _ in range(COUNTED_ROUNDS):
                made.seconds("exchange", TIMES["exchange"])
            return {name: runs for name, runs in count_runs().items() if runs.times}
        finally:
            os.close(descriptor)


def idle(cpu: int, support: Support) -> Idle:
    """Of a CPU that is left alone. Others on the machine only add to it, so the quieter rounds count."""
    shares: tuple[list[float], list[float]] = ([], [])
    interrupts: tuple[list[float], list[float]] = ([], [])
    for n in range(2 * IDLE_ROUNDS):
        on = (n + n // 2) % 2  # off, on, on, off, and so on
        with closing(recorder(support)) if on else nullcontext():
            time.sleep(0.05)  # what attaching leaves to be done is no part of being idle
            before, clock = busy_seconds(cpu), clock_interrupts(cpu)
            begin = time.monotonic()
            time.sleep(IDLE_SECONDS)  # what is measured: a machine that does nothing else
            seconds = time.monotonic() - begin
            shares[on].append((busy_seconds(cpu) - before) / seconds)
            interrupts[on].append((clock_interrupts(cpu) - clock) / seconds)
    off, watched = (statistics.quantiles(each, n=4)[0] for each in shares)
    return Idle(
        busy=watched - off if off < QUIET_SHARE else None,
        interrupts=(statistics.quantiles(interrupts[1], n=4)[0], statistics.quantiles(interrupts[0], n=4)[0]),
    )


def busy_seconds(cpu: int) -> float:
    """How long a CPU was not idle, from an arbitrary moment on: to the nanosecond where /proc/stat has centiseconds.

    A CPU that is idle now has been so since idle_entrytime (kernel/time/tick-sched.c).
    """
    text = TIMER_LIST.read_text()
    part = text[text.rindex(f"\ncpu: {cpu}\n") :]
    names = ("idle_entrytime", "idle_sleeptime", "iowait_sleeptime")
    since, idle, waiting = (int(re.findall(rf"\.{name}\s*: (\d+)", part)[0]) for name in names)
    return (since - idle - waiting) / 1e9


def clock_interrupts(cpu: int) -> int:
    """Of the timer of a CPU, since boot (LOC in /proc/interrupts; x86)."""
    found = re.search(r"^\s*LOC:(.*)", Path("/proc/interrupts").read_text(), re.MULTILINE)
    online = [int(n) for n in re.findall(r"CPU(\d+)", Path("/proc/interrupts").read_text().split("\n", 1)[0])]
    return int(found[1].split()[online.index(cpu)]) if found else 0


def own_nanoseconds(found: Numbers) -> dict[str, float]:
    """Of one run of each program that softirqs and the clock ran, with what the count itself adds."""
    return {
        name: found.programs[name].nanoseconds / found.programs[name].times
        for name in (*reversed(PROGRAMS), "sample")
        if name in found.programs
    }


if __name__ == "__main__":
    print(json.dumps(measure()._asdict(), indent=1))
