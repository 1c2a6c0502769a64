"""What bpf/stalls.bpf.c hands over of one stall, decoded and summed into who held the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.system_calls import system_call_name
from whodunnet.model.stalls import (
    HOLDERS_MAX,
    SOFTIRQ_LOOP,
    STACKS_MAX,
    Duty,
    Holder,
    Mode,
    Stack,
    Stall,
    StallKind,
    Task,
)
from whodunnet.model.text import clean

STALL_KINDS: tuple[StallKind, ...] = ("late", "long", "thread", "silent", "queued")
SOFTIRQS = (
    "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
)  # fmt: skip
"""Names of the vectors, in their order (include/linux/interrupt.h)."""
REAL_TIME_PRIORITIES = 100  # MAX_RT_PRIO (include/linux/sched/prio.h)
TRACING = ("bpf_", "__bpf_", "__traceiter_", "perf_", "__perf_")
TRACING_DEPTH = 8
"""Functions that run a program on a tracepoint, and how deep below them our own may be, whose names are not listed."""

DUTIES: tuple[tuple[Duty, tuple[str, ...]], ...] = (
    ("idle", ("swapper/",)),
    ("softirqs", ("ksoftirqd/",)),
    ("packets", ("napi/", "backlog_napi/")),
)

Names = Callable[[int], str | None]


class Seen(NamedTuple):
    """One task at one moment of the monotonic clock; stack has addresses, innermost first.

    traced: by a tracepoint, whose functions are then innermost.
    """

    at_ns: int
    task: Task
    mode: Mode
    system_call: str | None
    softirq: str | None
    switches: int
    stack: tuple[int, ...]
    traced: bool = False


class Record(NamedTuple):
    """One stall, on the monotonic clock. cut: there was no room for samples of its beginning.

    packets: of "queued", how many were taken up meanwhile.
    """

    kind: StallKind
    cpu: int
    since_ns: int
    until_ns: int
    end: Seen
    samples: tuple[Seen, ...]
    cut: bool
    packets: int = 0


def decode_record(ffi: Any, data: bytes) -> Record:
    """One record of the ring buffer. Raises MalformedError."""
    head, each = ffi.offsetof("struct stall", "samples"), ffi.sizeof("struct seen")
    count, rest = divmod(len(data) - head, each)
    if len(data) < head or rest or len(data) > ffi.sizeof("struct stall"):
        raise MalformedError(f"a stall has {len(data)} bytes: rebuild the package")
    stall = ffi.new("struct stall *")
    ffi.memmove(stall, data, len(data))
    if stall.kind >= len(STALL_KINDS) or stall.until_ns < stall.since_ns:
        raise MalformedError(f"a stall is of kind {stall.kind}, from {stall.since_ns} to {stall.until_ns}")
    seen = (decode_seen(ffi, stall.samples[i]) for i in range(count))
    samples = [one for one in seen if stall.since_ns <= one.at_ns <= stall.until_ns]
    return Record(
        kind=STALL_KINDS[stall.kind],
        cpu=stall.cpu,
        since_ns=stall.since_ns,
        until_ns=stall.until_ns,
        end=decode_seen(ffi, stall.end),
        samples=tuple(sorted(samples, key=attrgetter("at_ns"))),
        cut=len(samples) == len(stall.samples),
        packets=stall.packets,
    )


def decode_seen(ffi: Any, seen: Any) -> Seen:
    real_time = 0 <= seen.priority < REAL_TIME_PRIORITIES
    thread = _name(ffi, seen.thread)
    task = Task(
        pid=seen.pid or None,
        tid=seen.tid or None,
        comm=_name(ffi, seen.comm),
        thread=thread,
        process_started_seconds=seen.process_started_ns / 1e9,
        cgroup_id=seen.cgroup_id or None,
        kernel_thread=bool(seen.kernel_thread),
        real_time_priority=REAL_TIME_PRIORITIES - 1 - seen.priority if real_time else None,
        duty=duty_of(thread) if seen.kernel_thread else None,
    )
    return Seen(
        at_ns=seen.at_ns,
        task=task,
        mode="user" if seen.user else "kernel",
        system_call=system_call_name(seen.syscall),
        softirq=softirq_name(seen.softirq),
        switches=seen.switches,
        stack=tuple(seen.stack[0 : min(seen.frames, len(seen.stack))]),
        traced=bool(seen.traced),
    )


def duty_of(thread: str) -> Duty | None:
    """By the name of a thread of the kernel, which no other can have (kernel/softirq.c, idle.c, net/core/dev.c)."""
    return next((duty for duty, names in DUTIES if thread.startswith(names)), None)


def softirq_name(number: int) -> str | None:
    """Name of a vector that is counted from 1; 0: none."""
    if not number:
        return None
    return SOFTIRQS[number - 1] if number <= len(SOFTIRQS) else f"softirq {number - 1}"


def summed(record: Record, names: Names, hertz: int, boot_offset_seconds: float) -> Stall:
    """The stall in words. hertz: of the samples; boot_offset_seconds: of the boot clock before the monotonic one."""
    wait = (record.until_ns - record.since_ns) / 1e9
    holders = sum_holders((seen for seen in record.samples if not is_between(seen, names)), names, hertz, wait)
    return Stall(
        ended_boot_seconds=record.until_ns / 1e9 + boot_offset_seconds,
        cpu=record.cpu,
        kind=record.kind,
        wait_seconds=wait,
        end=_holder([record.end], names, 0.0),
        holders=holders[:HOLDERS_MAX],
        samples=len(record.samples),
        samples_cut=record.cut,
        packets=record.packets,
        expected_samples=int(wait * hertz),
    )


def is_between(seen: Seen, names: Names) -> bool:
    """Whether it was met in the loop over softirqs itself, as where interrupts come back on after a pause.

    Neither a softirq nor the task below it is known to have held the CPU. A tracepoint's place is always there.
    """
    innermost = names(seen.stack[0]) if seen.stack and not seen.traced else None
    return innermost is not None and SOFTIRQ_LOOP.match(innermost) is not None


def sum_holders(samples: Iterable[Seen], names: Names, hertz: int, wait: float) -> tuple[Holder, ...]:
    """Who was seen, longest first."""
    found: dict[object, list[Seen]] = {}
    for seen in samples:
        found.setdefault((seen.task, seen.mode, seen.system_call, seen.softirq), []).append(seen)
    period = 1 / hertz if hertz else 0.0
    holders = [_holder(group, names, min(len(group) * period, wait)) for group in found.values()]
    return tuple(sorted(holders, key=lambda h: -h.samples))


def _holder(seen: list[Seen], names: Names, seconds: float) -> Holder:
    first = seen[0]
    stacks = Counter(functions(one.stack, names, traced=one.traced) for one in seen if one.stack)
    return Holder(
        task=first.task,
        mode=first.mode,
        system_call=first.system_call,
        softirq=first.softirq,
        samples=len(seen),
        seconds=seconds,
        stayed=len({one.switches for one in seen}) == 1 if len(seen) > 1 else None,
        stacks=tuple(Stack(functions=each, samples=n) for each, n in stacks.most_common(STACKS_MAX)),
    )


def functions(stack: tuple[int, ...], names: Names, *, traced: bool) -> tuple[str | None, ...]:
    """Names of a stack, innermost first. traced: without the functions that took it, which are innermost.

    All but the innermost are addresses to return to, which may already be of the next function: look before them.
    """
    named = [names(address - (1 if depth else 0)) for depth, address in enumerate(stack)]
    if not traced:
        return tuple(named)
    ours = [depth + 1 for depth, name in enumerate(named[:TRACING_DEPTH]) if name and name.startswith(TRACING)]
    return tuple(named[max(ours, default=0) :])


def _name(ffi: Any, text: Any) -> str:
    return clean(ffi.string(text).decode(errors="replace"))
