"""Stalls in words: who, where, in which call, for how long."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.stalls import Task
from whodunnet.model.text import clean
from whodunnet.model.workload import Workload
from whodunnet.rules.identity import short_name

LISTED_CPUS = 3


def time_text(seconds: float) -> str:
    """ "18 µs", "1.8 ms", "14 ms", "1.3 s"."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def span_text(seconds: float) -> str:
    """ "3 s", "2.5 s", "600 s": of a window, in which a tenth of a second is of no account."""
    return f"{round(seconds, 1):g} s" if seconds >= 1 else time_text(seconds)


def who_text(task: Task, workload: Workload | None) -> str:
    """What a person calls it; a thread of the kernel as one."""
    if task.kernel_thread:
        return f"the kernel thread {clean(task.thread)}"
    if workload is None or workload.process is None:
        return f"{clean(task.comm) or 'a process'} (outside of our pid namespace)"
    return short_name(workload)


def call_text(system_call: str | None) -> str:
    """ "read()"; what is newer than our list is a number already."""
    if system_call is None:
        return "the kernel"
    return system_call if " " in system_call else f"{system_call}()"


def cpus_text(cpus: Sequence[int]) -> str:
    """ "CPU 3", "CPUs 1 and 3", "14 CPUs"."""
    if len(cpus) == 1:
        return f"CPU {cpus[0]}"
    if len(cpus) > LISTED_CPUS:
        return f"{len(cpus)} CPUs"
    return f"CPUs {', '.join(map(str, cpus[:-1]))} and {cpus[-1]}"


def times_text(n: int) -> str:
    """ "once", "7 times"."""
    return "once" if n == 1 else f"{n:,} times"
