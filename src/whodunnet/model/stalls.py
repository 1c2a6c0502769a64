"""The sample of the stalls collector: received packets that waited for a CPU, and who held that meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from whodunnet.model.bounds import Count, Seconds, Signed

StallKind = Literal[
    "late",  # the softirq NET_RX was raised, and begun late
    "long",  # NET_RX itself ran for long: what came meanwhile waited for it
    "thread",  # a NAPI thread was runnable, and got the CPU late
    "queued",  # a packet waited in the backlog while those before it were taken up, in several runs of NET_RX
    "silent",  # no sample came while one task kept the CPU: interrupts were off, or the whole machine was paused
]
Mode = Literal["user", "kernel"]
Duty = Literal[
    "idle",  # of the CPU: nothing is to be done
    "softirqs",  # ksoftirqd
    "packets",  # a NAPI thread
]
DELAY_CLASSES = 64
LINEAR_CLASSES = 32
LINEAR_NS = 2048
FUNCTIONS_MAX = 24
STACKS_MAX = 8
HOLDERS_MAX = 16
SOFTIRQ_LOOP = re.compile(r"(?:handle_softirqs|__do_softirq|__softirqentry_text_start)(?:\.|$)")
"""Who is met in it and no deeper is before the first softirq of a round, or between two (kernel/softirq.c)."""
STALLS_MAX = 1024


class Stack(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Functions of the kernel, innermost first, in which a task was seen. None: its name is hidden or not known."""

    functions: Annotated[tuple[str | None, ...], Meta(max_length=FUNCTIONS_MAX)]
    samples: Count = 1


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thread as it was met, with the name it had then: it may be gone.

    pid: of its process, None outside of our pid namespace; so are comm and process_started_seconds (boot clock).
    cgroup_id: of cgroup v2, the root's where it was put in none. real_time_priority: None for the others.
    duty: of the kernel's own threads that wait with the packets, or run when nothing else does; None for all others.
    """

    pid: Count | None
    tid: Count | None
    comm: str
    thread: str
    process_started_seconds: Seconds
    cgroup_id: Count | None = None
    kernel_thread: bool = False
    real_time_priority: Signed | None = None
    duty: Duty | None = None


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Who was seen on the CPU during a stall, in one mode, system call and softirq.

    samples: how often; seconds: about how long that was, never more than the stall. stayed: it was not taken off the
    CPU between the first of these samples and the last; None with one sample.
    softirq: the one that ran on top of the task, which has then nothing to do with it. stacks: the commonest first.
    """

    task: Task
    mode: Mode
    system_call: str | None = None
    softirq: str | None = None
    samples: Count
    seconds: Seconds
    stayed: bool | None = None
    stacks: Annotated[tuple[Stack, ...], Meta(max_length=STACKS_MAX)] = ()

    @property
    def is_between(self) -> bool:
        """Whether it was met where softirqs begin, or between two: what was there before is not seen."""
        names = (stack.functions[0] for stack in self.stacks if stack.functions)
        return any(name is not None and SOFTIRQ_LOOP.match(name) for name in names)


class Stall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One time that packets waited.

    ended_boot_seconds: on the boot clock. wait_seconds: of "late" from the first raise, of "long" until it was last
        met, of "queued" from the first sample that met the packet to the last, of "silent" since the sample before: the
        upper bound of how long interrupts were off.
    end: who was current when it was over, and where: of "late" in whose context the softirq came to run at last, which
        is the culprit unless it is a ksoftirqd or idle; of "thread" the NAPI thread itself.
    packets: of "queued", how many left the backlog meanwhile.
    samples: taken meanwhile, also between two softirqs, which are of no holder. With far fewer than expected_samples
        the CPU did not run, had its interrupts off, or was idle. samples_cut: those of the beginning found no room, so
        whoever held the CPU did so for longer.
    """

    ended_boot_seconds: Seconds
    cpu: Count
    kind: StallKind
    wait_seconds: Seconds
    end: Holder
    holders: Annotated[tuple[Holder, ...], Meta(max_length=HOLDERS_MAX)] = ()
    samples: Count = 0
    samples_cut: bool = False
    expected_samples: Count = 0
    packets: Count = 0

    @property
    def met(self) -> int:
        """Samples of somebody."""
        return sum(holder.samples for holder in self.holders)

    @property
    def between(self) -> int:
        """Samples of nobody: between two softirqs. 0 where there may be more holders than have room."""
        return max(self.samples - self.met, 0) if len(self.holders) < HOLDERS_MAX else 0


class DelaySpan(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """How many delays were of one class; until is None for the last one, which has no end."""

    since: Seconds
    until: Seconds | None
    count: Count


class CpuDelays(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one CPU since the recorder was started; numbers only grow, but the longest, which are of the last reading.

    delays: of NET_RX from raise to entry; below one tick of the kernel every eighth is measured, and counts eight.
    thread_delays: of NAPI threads, which waited that long for this CPU.
    longest_run_seconds: of one run of NET_RX with its wait, of those that a sample met, until the last one did;
        without samples, of those that a tick of the kernel fell into.
    longest_queued_seconds: of packets in the backlog that were followed, between two samples that met them waiting.
    samples: of the flight recorder, which the idle task gives none to.
    stolen_seconds: taken by the hypervisor, in steps of 10 ms; None where the kernel does not say.
    """

    cpu: Count
    delays: Annotated[tuple[DelaySpan, ...], Meta(max_length=DELAY_CLASSES)] = ()
    thread_delays: Annotated[tuple[DelaySpan, ...], Meta(max_length=DELAY_CLASSES)] = ()
    longest_seconds: Seconds = 0.0
    longest_run_seconds: Seconds = 0.0
    longest_queued_seconds: Seconds = 0.0
    samples: Count = 0
    stolen_seconds: Seconds | None = None

    @property
    def delayed(self) -> int:
        """How many delays of NET_RX there were."""
        return sum(span.count for span in self.delays)

    def quantile(self, share: float) -> float | None:
        """Upper bound of the class that this share of the delays of NET_RX stays in; None: there were none."""
        return quantile(self.delays, share)


class Stalls(msgspec.Struct, frozen=True, tag="stalls", kw_only=True, omit_defaults=True):
    """The stalls of all CPUs since the last reading, and the delays since the recorder was started.

    threshold_seconds: shorter ones are only counted in the delays. hertz: of the flight recorder, 0: there is none,
    for sampling_reason. symbols_reason: why functions have no names. threads_watched: NAPI threads.
    backlogs_followed: whether it is seen how long packets wait for those before them.
    lost: stalls that found no room in the buffer; suppressed: beyond the limit for one CPU and second; left_out:
    beyond what one sample holds, of this one alone.
    """

    stalls: Annotated[tuple[Stall, ...], Meta(max_length=STALLS_MAX)] = ()
    cpus: tuple[CpuDelays, ...] = ()
    watched_seconds: Seconds
    started_seconds: Seconds = 0.0
    threshold_seconds: Seconds
    hertz: Count = 0
    backlogs_followed: bool = False
    threads_watched: Count = 0
    lost: Count = 0
    suppressed: Count = 0
    left_out: Count = 0
    sampling_reason: str | None = None
    symbols_reason: str | None = None


def delay_since(number: int) -> float:
    """Lower bound of a class, in seconds: 32 classes of 2048 ns, then two for each power of two."""
    if number <= LINEAR_CLASSES:
        return number * LINEAR_NS / 1e9
    power, half = divmod(number - LINEAR_CLASSES, 2)
    return LINEAR_CLASSES * LINEAR_NS * (1 << power) * (1 + half / 2) / 1e9


def delay_spans(counts: Iterable[int]) -> tuple[DelaySpan, ...]:
    """The classes that have any."""
    return tuple(
        DelaySpan(delay_since(n), None if n == DELAY_CLASSES - 1 else delay_since(n + 1), count)
        for n, count in enumerate(counts)
        if count
    )


def quantile(spans: tuple[DelaySpan, ...], share: float) -> float | None:
    """Upper bound of the class that this share stays in; of the last class its lower one. None where there are none."""
    wanted = share * sum(span.count for span in spans)
    for span in spans:
        wanted -= span.count
        if wanted <= 0:
            return span.since if span.until is None else span.until
    return None
