"""One stall: what kind it was, and who held the CPU, if anybody alone did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from whodunnet.model.stall_window import SeenStall
from whodunnet.model.stalls import Holder, Stall, Task
from whodunnet.rules.stall_functions import waits_for_lock

Shape = Literal[
    "syscall-hog",
    "softirqs-disabled",
    "softirq-hog",
    "starved-thread",
    "steal",
    "overload",
    "irqs-disabled",
    "many-holders",
    "paused",
]
"""paused: the CPU did not run, or nobody can tell: no finding comes of it."""
PACKETS: Final = "NET_RX"
SAMPLES_NAMED: Final = 2
"""Moments at which somebody has to be met: one alone is chance."""
SAMPLED_SHARE: Final = 0.5
"""Of the samples that the time allows for: with fewer the CPU did not run, or had its interrupts off."""
HELD_SHARE: Final = 0.5
"""Of the samples of a stall: who has more than that has held the CPU."""
CALL_SHARE: Final = 0.8
"""Of the samples of who held the CPU: those in one system call. In many short ones it would have given way."""
STOLEN_SHARE: Final = 0.5
"""Of the time that is not accounted for by samples: if the hypervisor took as much, it was that."""
ENABLING: Final = (
    "__local_bh_enable", "local_bh_enable", "_raw_spin_unlock_bh", "_raw_read_unlock_bh", "_raw_write_unlock_bh",
)  # fmt: skip
INTERRUPTING: Final = (
    "irq_exit",
    "__irq_exit",
    "irqentry_exit",
    "sysvec_",
    "asm_sysvec_",
    "asm_common_interrupt",
    "asm_exc_",
    "common_interrupt",
    "el1h_",
    "el0t_",
)
"""How a softirq comes to run: where somebody allows them again, or after an interrupt (kernel/softirq.c)."""
ROUND_SECONDS: Final = 0.035
"""The kernel ends a round of NET_RX after two ticks, 20 ms at most, and its poll; a tick may have gone before."""
BUSY_RATE: Final = 10_000
"""Packets in a second that one CPU gives to the protocols: with fewer its rounds are long by what is done for each."""
PACKET_SECONDS: Final = 0.00005
"""A packet that takes longer, of a queue that was taken up meanwhile, is long by what is done for it."""
IDLE: Final = "idle"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A stall with its shape. holders: what was seen of the culprit, or of the softirq. samples: how often in all.

    of: samples of anybody, and of nobody (Stall.between). end_only: named by where the softirq came to run at last, for
    there were no samples.
    waited: who was met there waited for a lock itself, and is no culprit; holders are its.
    untold: of a pause that may have been a task with its interrupts off: softirqs began before anybody was met.
    """

    seen: SeenStall
    shape: Shape
    task: Task | None = None
    softirq: str | None = None
    holders: tuple[Holder, ...] = ()
    samples: int = 0
    of: int = 0
    end_only: bool = False
    waited: bool = False
    untold: bool = False

    @property
    def stall(self) -> Stall:
        return self.seen.stall

    @property
    def held_seconds(self) -> float:
        """How long the culprit may have had the CPU at once; between several runs of NET_RX, only while it was met."""
        share = self.samples / self.of if self.stall.kind == "queued" and self.of else 1.0
        return self.stall.wait_seconds * share

    @property
    def system_call(self) -> str | None:
        """The one in which it was seen most."""
        calls: Counter[str] = Counter()
        for holder in self.holders:
            if holder.system_call is not None:
                calls[holder.system_call] += holder.samples
        return calls.most_common(1)[0][0] if calls else None


def judge_stall(seen: SeenStall, hertz: int, stolen: bool) -> Judged:
    """hertz: of the samples, 0: none were taken. stolen: see was_stolen."""
    stall = seen.stall
    if stall.kind == "silent":
        return _silent(seen, stolen)
    if hertz and is_unsampled(stall):
        return Judged(seen=seen, shape="steal") if stolen else _unsampled(seen)
    if stall.kind == "long":
        return _long(seen, hertz)
    if stall.kind == "queued":
        return _queued(seen, hertz)
    return _waited(seen, hertz)


def _silent(seen: SeenStall, stolen: bool) -> Judged:
    """No sample came although one task kept the CPU. In user mode interrupts are never off: all was paused.

    Of who is met where softirqs begin nobody can tell: once interrupts are back on, or the machine is, one that goes
    before the clock's (on x86 that of another CPU) begins softirqs, and the clock's comes there.
    """
    end = seen.stall.end
    itself, waited = end.softirq is None and end.task.duty is None, _waits((end,))
    return Judged(
        seen=seen,
        shape="paused" if stolen or end.mode == "user" or end.is_between else "irqs-disabled",
        task=end.task if itself and not waited else None,
        holders=(end,),
        samples=1,
        of=1,
        waited=waited,
        untold=end.is_between and not stolen,
    )


def _unsampled(seen: SeenStall) -> Judged:
    """The CPU stood still, or the one task that was met there in the kernel had its interrupts off."""
    own = [h for h in seen.stall.holders if h.softirq is None and h.task.duty is None and h.mode == "kernel"]
    n, of = _sum(own), _looks(seen.stall)
    # A thread may have waited for another CPU than this one.
    elsewhere = seen.stall.kind in ("long", "thread", "queued")
    if elsewhere or not own or n <= HELD_SHARE * of or len({h.task for h in own}) > 1:
        return Judged(seen=seen, shape="paused", untold=seen.stall.between > 0 and seen.stall.kind != "thread")
    waited = _waits(own)
    task = None if waited else own[0].task
    return Judged(seen=seen, shape="irqs-disabled", task=task, holders=tuple(own), samples=n, of=of, waited=waited)


def is_unsampled(stall: Stall) -> bool:
    """Whether there are far fewer samples than the time allows for. Of an idle CPU there are none."""
    return not stall.samples_cut and stall.samples < SAMPLED_SHARE * stall.expected_samples


def unaccounted_seconds(stall: Stall) -> float:
    """How much of the time nobody was seen."""
    if stall.kind == "silent":
        return stall.wait_seconds
    if stall.samples_cut or not stall.expected_samples:
        return 0.0
    return stall.wait_seconds * (1 - min(stall.samples / stall.expected_samples, 1.0))


def _long(seen: SeenStall, hertz: int) -> Judged:
    """NET_RX ran on without a pause. Whoever was interrupted by it has nothing to do with it."""
    stall = seen.stall
    served = tuple(h for h in stall.holders if h.softirq == PACKETS)
    n, of = _sum(served), _looks(stall)
    if hertz and n < SAMPLES_NAMED:
        return Judged(seen=seen, shape="paused")  # a machine that paused while it ran looks like this
    shape: Shape = "overload" if stall.wait_seconds < ROUND_SECONDS and _may_be_busy(seen) else "softirq-hog"
    return _of_softirq(seen, shape, PACKETS, served, of)


def _queued(seen: SeenStall, hertz: int) -> Judged:
    """A packet waited for those before it, which NET_RX took up in several runs; ksoftirqd had its turn between."""
    stall = seen.stall
    served = tuple(h for h in stall.holders if _whose(h) == PACKETS)
    n, of = _sum(served), _looks(stall)
    if of < SAMPLES_NAMED:
        return Judged(seen=seen, shape="paused", of=of)
    if n < SAMPLES_NAMED or n <= HELD_SHARE * of:
        return _waited(seen, hertz)  # others had the CPU between these runs
    many = stall.wait_seconds * n / of < PACKET_SECONDS * stall.packets
    busy = seen.packets_per_second is not None and _may_be_busy(seen)  # there may be packets of devices among them
    shape: Shape = "overload" if many or busy else "softirq-hog"
    return _of_softirq(seen, shape, PACKETS, served, of)


def _of_softirq(seen: SeenStall, shape: Shape, softirq: str, holders: tuple[Holder, ...], of: int) -> Judged:
    """One that spins for a lock does no work: what is wrong is where the lock is held."""
    n = _sum(holders)
    if _waits(holders):
        return Judged(seen=seen, shape="many-holders", holders=holders, samples=n, of=of, waited=True)
    return Judged(seen=seen, shape=shape, softirq=softirq, holders=holders, samples=n, of=of)


def _waited(seen: SeenStall, hertz: int) -> Judged:
    """Packets waited for NET_RX, or for a thread: who had most of the samples meanwhile."""
    stall = seen.stall
    groups: dict[Task | str, list[Holder]] = {}
    for holder in stall.holders:
        groups.setdefault(_whose(holder), []).append(holder)
    end = _end_of(stall)
    of = _looks(stall) + (end is not None)
    counts = {key: _sum(holders) + (end is not None and key == end.task) for key, holders in groups.items()}
    if end is not None and end.task not in counts:
        counts[end.task], groups[end.task] = 1, []
    if not counts:
        return Judged(seen=seen, shape="many-holders", of=of)
    key = max(counts, key=lambda key: counts[key])
    n, holders = counts[key], tuple(groups[key])
    if end is not None and key == end.task:
        holders = (*holders, end)
    end_only = not hertz and end is not None and key == end.task
    if not end_only and (n < SAMPLES_NAMED or n <= HELD_SHARE * of):
        return Judged(seen=seen, shape="many-holders", of=of)
    if isinstance(key, Task):
        if _waits(holders):
            return Judged(seen=seen, shape="many-holders", holders=holders, samples=n, of=of, waited=True)
        shape = _shape_of(stall, key, holders)
        return Judged(seen=seen, shape=shape, task=key, holders=holders, samples=n, of=of, end_only=end_only)
    if key == IDLE:
        return Judged(seen=seen, shape="paused", of=of)
    shape = "overload" if key == PACKETS and _may_be_busy(seen) else "softirq-hog"
    return _of_softirq(seen, shape, key, holders, of)


def _may_be_busy(seen: SeenStall) -> bool:
    """Whether its budget was used up by many packets (time_squeeze, net_rx_action in net/core/dev.c), or who knows."""
    if seen.packets_per_second is None or seen.squeezed is None:
        return True
    return seen.squeezed > 0 and seen.packets_per_second >= BUSY_RATE


def _whose(holder: Holder) -> Task | str:
    """A softirq that ran has nothing to do with the task below it; threads that take packets do what softirqs do."""
    if holder.softirq is not None:
        return holder.softirq
    if holder.task.duty is not None:
        return IDLE if holder.task.duty == "idle" else PACKETS
    return holder.task


def _end_of(stall: Stall) -> Holder | None:
    """The task whose own end of a section without softirqs let them run at last: one more moment at which it was met.

    None where the softirq came with an interrupt: whoever was interrupted may just have begun.
    """
    if stall.kind != "late" or stall.end.task.duty is not None:
        return None
    names = [name for stack in stall.end.stacks for name in stack.functions if name is not None]
    by_itself = next((n for n, name in enumerate(names) if name.startswith(ENABLING)), None)
    by_interrupt = next((n for n, name in enumerate(names) if name.startswith(INTERRUPTING)), len(names))
    return stall.end if by_itself is not None and by_itself < by_interrupt else None


def _shape_of(stall: Stall, task: Task, holders: tuple[Holder, ...]) -> Shape:
    """What a task that held the CPU did to the packets."""
    waited_for_thread = _waited_for_thread(stall)
    if task.real_time_priority is not None and waited_for_thread:
        return "starved-thread"
    end = _end_of(stall)
    if end is not None and end.task == task and _in_one_call(holders):
        return "softirqs-disabled"
    if waited_for_thread and _in_one_call(holders):
        return "syscall-hog"
    return "overload" if waited_for_thread else "many-holders"  # it had its turn, which is no fault


def _waited_for_thread(stall: Stall) -> bool:
    """Whether it was a thread that had to take up the packets: at the end, or where there are several runs in any."""
    met = (stall.end, *(stall.holders if stall.kind == "queued" else ()))
    return stall.kind == "thread" or any(holder.task.duty in ("softirqs", "packets") for holder in met)


def _in_one_call(holders: tuple[Holder, ...]) -> bool:
    """Whether most of it was one system call, which it did not leave the CPU in; of a thread of the kernel all is."""
    samples: dict[str | None, int] = {}
    for h in holders:
        if h.mode == "kernel" and h.stayed is not False:
            samples[h.system_call] = samples.get(h.system_call, 0) + h.samples
    return max(samples.values(), default=0) >= CALL_SHARE * _sum(holders)


def _waits(holders: Iterable[Holder]) -> bool:
    """Whether most of it was spinning for a lock: whoever does so is held up as well."""
    holders = tuple(holders)
    spun = sum(stack.samples for h in holders for stack in h.stacks if waits_for_lock(stack))
    return spun > HELD_SHARE * _sum(holders)


def _looks(stall: Stall) -> int:
    """How often anybody was met, or nobody in particular: who has most of these has held the CPU."""
    return max(stall.met, stall.samples)


def _sum(holders: tuple[Holder, ...] | list[Holder]) -> int:
    return sum(holder.samples for holder in holders)
