"""The stalls of a window put together: those of one kind by one culprit are one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from whodunnet.model.finding import Confidence, Severity
from whodunnet.model.stall_window import SeenStall, StallWindow
from whodunnet.model.stalls import Holder, Stack, Stall, Task
from whodunnet.model.workload import Process, Workload
from whodunnet.rules.catalogue import Entry, catalogue
from whodunnet.rules.stall_bursts import LASTING_SHARE, began, burst_waits
from whodunnet.rules.stall_functions import common_function, memory_stat_by, stacks_of
from whodunnet.rules.stall_shapes import STOLEN_SHARE, Judged, Shape, judge_stall, unaccounted_seconds

COMMON_SHARE: Final = 0.8
"""A function is the one that somebody was in if so many of the samples were in it."""
STARTED_TOLERANCE_SECONDS: Final = 2.0
"""When a process started is known to a second on the wall clock."""
TOLD_SHARE: Final = 0.5
"""Of the time that a packet waited for those before it: if other stalls were there for as long, they tell of it."""
NAMING: Final = frozenset({"syscall-hog", "softirqs-disabled", "starved-thread", "irqs-disabled"})
"""Shapes of which a task can be the culprit."""
APART: Final = frozenset({"softirq-hog", "overload", "many-holders"})
"""Shapes of which packets that only waited for those before them are a case of their own: one burst is chance."""
PAUSES: Final = frozenset({"paused", "irqs-disabled", "steal"})
"""Shapes that may be of a CPU that just did not run: a few of them are no finding."""
ORDER: Final[tuple[Confidence, ...]] = ("proven", "likely", "possible")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Stalls of one shape, by one program or softirq. workload: who that is; processes: how many of that name.

    samples: in which it was met; of: samples of anybody or nobody, in these stalls. function: the one they were in, in
    how many of how many samples that have a name.
    """

    shape: Shape
    stalls: tuple[Judged, ...]
    workload: Workload | None = None
    task: Task | None = None
    processes: int = 0
    softirq: str | None = None
    system_call: str | None = None
    samples: int = 0
    of: int = 0
    function: tuple[str, int, int] | None = None
    confidence: Confidence = "possible"
    severity: Severity = "info"

    @property
    def waits(self) -> list[float]:
        return [judged.stall.wait_seconds for judged in self.stalls]

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs on which it was, in order."""
        return tuple(sorted({judged.stall.cpu for judged in self.stalls}))

    @property
    def between(self) -> int:
        """Samples of nobody: between two softirqs."""
        return sum(judged.stall.between for judged in self.stalls)

    @property
    def stacks(self) -> list[Stack]:
        return stacks_of(holder for judged in self.stalls for holder in judged.holders)

    @property
    def is_named(self) -> bool:
        """Whether somebody is to blame and known."""
        return self.task is not None and self.shape in NAMING

    @property
    def has_culprit(self) -> bool:
        """Whether that is sure enough to say so."""
        return self.is_named and self.confidence != "possible"

    @property
    def memory_stat_by(self) -> tuple[Literal["walk", "flush"], int] | None:
        """What made a read of memory.stat long, and in how many samples it was seen."""
        return memory_stat_by(self.stacks, irqs_off=self.shape == "irqs-disabled")

    @property
    def is_queue(self) -> bool:
        """Whether packets only waited for those before them, and nobody can be the culprit."""
        return all(is_behind(judged) for judged in self.stalls)

    @property
    def is_counted(self) -> bool:
        """Whether the kernel's own counters say that there were many packets."""
        return all(judged.seen.squeezed for judged in self.stalls)

    @property
    def waited(self) -> bool:
        """Whether who was met there waited for a lock itself."""
        return all(judged.waited for judged in self.stalls)

    def lasts(self, seconds: float) -> bool:
        """Whether one packet waited for much of a window of so many seconds, which no burst explains."""
        return max(self.waits) >= LASTING_SHARE * seconds


def is_behind(judged: Judged) -> bool:
    """Whether a packet waited for those before it, and no task held the CPU meanwhile."""
    return judged.stall.kind == "queued" and judged.shape in APART


def find_cases(judged: Sequence[Judged], window: StallWindow, machine_virtual: bool, entry: Entry) -> list[Case]:
    """Those that are a finding, worst first. machine_virtual: also where that is not known."""
    groups: dict[tuple[object, ...], list[Judged]] = {}
    for one in judged:
        if one.shape != "paused":
            groups.setdefault(key_of(one, machine_virtual), []).append(one)
    cases = [_case(_once(group), window, machine_virtual, entry) for group in groups.values()]
    found = [case for case in cases if is_enough(case, window.seconds, machine_virtual, entry)]
    severities = ("critical", "warning", "info")
    return sorted(
        found, key=lambda c: (severities.index(c.severity), ORDER.index(c.confidence), -sum(c.waits), -len(c.waits))
    )


def _once(group: Sequence[Judged]) -> list[Judged]:
    """A packet that waited for those before it, or the other stalls of that moment: those by which more was held."""
    others = [one for one in group if one.stall.kind != "queued"]
    dropped: set[int] = set()
    waits = sorted((one for one in group if one.stall.kind == "queued"), key=lambda one: -one.held_seconds)
    for one in waits:
        left = (o for o in others if id(o) not in dropped)
        meanwhile = [o for o in left if o.stall.cpu == one.stall.cpu and overlap(o.stall, one.stall)]
        if meanwhile:
            is_more = one.held_seconds > sum(o.held_seconds for o in meanwhile)
            dropped.update(id(o) for o in (meanwhile if is_more else [one]))
    return [one for one in group if id(one) not in dropped]


def cause_of(judged: Judged, machine_virtual: bool) -> Workload | None:
    """Whom a single stall names, if anybody: as for a finding, but from this one alone."""
    if judged.task is None or judged.shape not in NAMING or (judged.shape == "irqs-disabled" and machine_virtual):
        return None
    if may_be_turn(judged.shape, judged.held_seconds, catalogue()["rx-stall"]):
        return None
    return workload_of(judged.task, judged.seen)


def may_be_turn(shape: Shape, longest_seconds: float, entry: Entry) -> bool:
    """Whether a task just had its turn, in short calls that are not told apart: it did no wrong."""
    return shape == "syscall-hog" and longest_seconds < entry.limit("min_single_wait")


def judge_all(window: StallWindow) -> list[Judged]:
    """Every stall of the window, in order, without packets whose wait for those before them others tell of."""
    all_others = [seen.stall for seen in window.stalls]
    taken = _stolen(seen for seen in window.stalls if not _is_told(seen.stall, all_others))
    hertz = window.last.hertz
    judged = [judge_stall(seen, hertz, stolen=(seen.at, seen.stall.cpu) in taken) for seen in window.stalls]
    telling = [one.stall for one in judged if one.shape not in PAUSES]
    return [one for one in judged if not _is_told(one.stall, all_others if one.shape == "paused" else telling)]


def _is_told(one: Stall, others: Iterable[Stall]) -> bool:
    """Whether a packet waited for those before it, and for most of that NET_RX was late or long there anyhow."""
    if one.kind != "queued":
        return False
    telling = [o for o in others if o.kind in ("late", "long") and o.cpu == one.cpu and overlap(one, o)]
    told, until = 0.0, began(one)
    for other in sorted(telling, key=began):
        since, until = max(until, began(other)), max(until, min(other.ended_boot_seconds, one.ended_boot_seconds))
        told += max(until - since, 0.0)
    return told >= TOLD_SHARE * one.wait_seconds


def overlap(one: Stall, other: Stall) -> bool:
    """Whether both were at one time."""
    return began(one) < other.ended_boot_seconds and began(other) < one.ended_boot_seconds


def _stolen(stalls: Iterable[SeenStall]) -> set[tuple[object, int]]:
    """Readings and CPUs of which the hypervisor took as much as is not accounted for, or most of it."""
    missing: dict[tuple[object, int], float] = {}
    by: dict[tuple[object, int], float] = {}
    for seen in stalls:
        key = (seen.at, seen.stall.cpu)
        missing[key] = missing.get(key, 0.0) + unaccounted_seconds(seen.stall)
        by[key] = seen.stolen_seconds or 0.0
    return {key for key, seconds in missing.items() if seconds > 0 and by[key] >= STOLEN_SHARE * seconds}


def key_of(judged: Judged, machine_virtual: bool, by_function: bool = True) -> tuple[object, ...]:
    """Of stalls that belong together.

    by_function: those that name nobody are told apart by that, and from packets that waited for those before them.
    """
    function, waited = (function_of(judged.holders), judged.waited) if by_function else (None, False)
    if judged.shape == "irqs-disabled":
        return (judged.shape, function, waited, *(() if machine_virtual else _program(judged)))
    if judged.task is not None and judged.shape in NAMING:
        return (judged.shape, *_program(judged))
    behind = by_function and is_behind(judged)
    if judged.softirq is not None:
        return (judged.shape, judged.softirq, behind)
    return (judged.shape, function, waited, behind) if waited else (judged.shape, behind)


def _program(judged: Judged) -> tuple[object, ...]:
    """What tells who was met from others of that name."""
    if judged.task is None:
        return ()
    owner = workload_of(judged.task, judged.seen)
    return (owner.container.id if owner.container else owner.unit, judged.task.comm, judged.task.kernel_thread)


def function_of(holders: Iterable[Holder]) -> str | None:
    """The function that most of their samples were in."""
    found = common_function(stacks_of(holders), COMMON_SHARE)
    return found[0] if found else None


def workload_of(task: Task, seen: SeenStall) -> Workload:
    """Who the task is, by /proc, else by its cgroup, else by the name it had."""
    workloads = seen.workloads
    known = workloads.by_pid.get(task.pid) if workloads is not None and task.pid is not None else None
    if known is None or not _is_same(known.process, task, seen):
        by_name = Process(pid=task.pid, comm=task.comm) if task.pid is not None else None
        known = Workload(process=by_name)
    in_cgroup = workloads.by_cgroup_id.get(task.cgroup_id or 0) if workloads is not None else None
    if in_cgroup is None or known.container or known.pod or task.kernel_thread:
        return known
    return msgspec.structs.replace(
        known, container=in_cgroup.container, pod=in_cgroup.pod, unit=known.unit or in_cgroup.unit
    )


def _is_same(process: Process | None, task: Task, seen: SeenStall) -> bool:
    """Whether a pid still was of that process when it was looked up."""
    if process is None or process.started is None:
        return process is not None and process.comm == task.comm
    started = (process.started - seen.at.wall).total_seconds() + seen.at.boot_seconds
    return abs(started - task.process_started_seconds) <= STARTED_TOLERANCE_SECONDS


def _case(stalls: list[Judged], window: StallWindow, machine_virtual: bool, entry: Entry) -> Case:
    longest = max(stalls, key=lambda one: one.stall.wait_seconds)
    calls: Counter[str] = Counter(one.system_call for one in stalls if one.system_call is not None)
    case = Case(
        shape=longest.shape,
        stalls=tuple(stalls),
        task=longest.task,
        workload=workload_of(longest.task, longest.seen) if longest.task is not None else None,
        processes=len({(one.task.pid, one.task.process_started_seconds) for one in stalls if one.task is not None}),
        softirq=longest.softirq,
        system_call=calls.most_common(1)[0][0] if calls else None,
        samples=sum(one.samples for one in stalls),
        of=sum(one.of for one in stalls),
    )
    case = msgspec.structs.replace(
        case,
        function=common_function(case.stacks, COMMON_SHARE),
        confidence=_confidence(case, machine_virtual, entry),
    )
    return msgspec.structs.replace(case, severity=_severity(case, window, entry))


def _confidence(case: Case, machine_virtual: bool, entry: Entry) -> Confidence:
    if case.shape == "irqs-disabled":
        return "possible" if machine_virtual or case.task is None else "likely"
    if case.shape == "many-holders":
        met = case.of - case.between  # of those at nobody it is not known that they were many
        return "likely" if met >= max(entry.limit("proven_samples"), case.between) else "possible"
    if any(one.end_only for one in case.stalls):
        return "possible"
    if case.shape == "overload":
        is_long = max(case.waits) >= entry.limit("min_single_wait")
        return "likely" if (case.is_counted if case.softirq is not None else is_long) else "possible"
    if case.shape == "steal":
        return "likely"
    if may_be_turn(case.shape, max(one.held_seconds for one in case.stalls), entry):
        return "possible"
    if all(one.stall.kind == "thread" for one in case.stalls):
        return "likely"  # the thread may have waited for another CPU before
    if case.is_queue and len(burst_waits(one.stall for one in case.stalls)) < entry.limit("min_stalls"):
        return "likely"
    seen_enough = case.samples >= entry.limit("proven_samples")
    return "proven" if seen_enough and case.samples >= entry.limit("proven_share") * case.of else "likely"


def _severity(case: Case, window: StallWindow, entry: Entry) -> Severity:
    """By length and frequency."""
    if case.confidence == "possible" or not is_much_stolen(case, window.seconds, entry):
        return "info"
    on_cpu: Counter[int] = Counter()
    for one in case.stalls:
        on_cpu[one.stall.cpu] += round(one.stall.wait_seconds * 1e6)
    share = max(on_cpu.values()) / 1e6 / max(window.seconds, 1e-6)
    grave = max(case.waits) >= entry.limit("critical_wait") or share >= entry.limit("critical_share")
    if case.is_queue:  # where one stands there is always a packet that waits, and one burst is chance
        grave = sum(wait >= entry.limit("critical_wait") for wait in burst_waits(one.stall for one in case.stalls)) > 1
    return "critical" if grave and case.shape not in ("steal", "many-holders", "irqs-disabled") else "warning"


def is_much_stolen(case: Case, seconds: float, entry: Entry) -> bool:
    """False of a little that the hypervisor took; whatever nobody took is much."""
    return case.shape != "steal" or sum(case.waits) >= entry.limit("min_stolen_share") * seconds


def is_enough(case: Case, seconds: float, machine_virtual: bool, entry: Entry) -> bool:
    """Whether it happened often enough, or for long enough, to be told. seconds: of the window."""
    if case.shape == "irqs-disabled":
        # A pause of the machine meets any function; interrupts that are off one and the same.
        if case.function is None or len(case.stalls) < entry.limit("min_stalls"):
            return False
        grave = not machine_virtual and max(case.waits) >= entry.limit("critical_wait")
        return grave or len(case.stalls) >= entry.limit("min_gaps")
    if not is_much_stolen(case, seconds, entry):
        return max(case.waits) >= entry.limit("critical_wait")
    if case.is_queue:  # one burst may fill a queue for longer than any round of softirqs takes
        return len(burst_waits(one.stall for one in case.stalls)) >= entry.limit("min_stalls") or case.lasts(seconds)
    return len(case.stalls) >= entry.limit("min_stalls") or max(case.waits) >= entry.limit("min_single_wait")
