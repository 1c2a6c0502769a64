"""What a watch of stalls tells: each as it happened, and at the end delays by CPU and culprits by what they caused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from whodunnet.model.bounds import Count, Instant, Seconds
from whodunnet.model.softnet import ReceivingDevice
from whodunnet.model.stall_window import SeenStall
from whodunnet.model.stalls import CpuDelays, Holder, StallKind, Stalls
from whodunnet.model.workload import Workload
from whodunnet.report.json import encode
from whodunnet.rules.stall_cases import cause_of, key_of, workload_of
from whodunnet.rules.stall_functions import path_of, stacks_of
from whodunnet.rules.stall_shapes import Judged, Shape
from whodunnet.rules.stall_sufferers import devices_at, devices_of

SCHEMA = "whodunnet/stall/v1"
CAUSES_KEPT = 4096
FUNCTIONS_SHOWN = 5
Devices = Mapping[str, ReceivingDevice]
NO_DEVICES: Devices = {}


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was seen on the CPU meanwhile. seconds: about how long. functions: commonest path, innermost first.

    softirq: the one that ran on top of it, with which it has nothing to do.
    """

    who: Workload
    thread: str
    kernel_thread: bool
    mode: str
    system_call: str | None
    softirq: str | None
    samples: Count
    seconds: Seconds
    functions: tuple[str, ...]


class StallLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="stall"):
    """One stall. at: when it was over. culprit: None where nobody can be named.

    expected_samples: how many there would be had the CPU run throughout. devices: whose packets waited among all that
    came to this CPU, as far as it is known; of which connection they were is not seen. samples_cut: it was longer than
    the recorder remembers, so who held the CPU did so for at least as long as it was seen. untold: of a pause that may
    have been a task with its interrupts off.
    """

    schema: str = SCHEMA
    at: Instant
    cpu: Count
    kind: StallKind
    wait_seconds: Seconds
    shape: Shape
    culprit: Workload | None
    held: tuple[Held, ...]
    samples: Count
    expected_samples: Count
    devices: tuple[str, ...] = ()
    samples_cut: bool = False
    untold: bool = False


class NotShown(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="not-shown"):
    """Stalls of which only the number is known. lost: no room; suppressed, left_out: too many at once."""

    schema: str = SCHEMA
    at: Instant
    lost: Count
    suppressed: Count
    left_out: Count


class CpuSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Delays of NET_RX on one CPU, from raise to entry: upper bounds of classes, but longest_seconds; null: none.

    devices: those whose packets come to it, as far as it is known.
    """

    cpu: Count
    delays: Count
    p50_seconds: Seconds | None
    p99_seconds: Seconds | None
    p999_seconds: Seconds | None
    longest_seconds: Seconds
    stolen_seconds: Seconds | None
    devices: tuple[str, ...] = ()


class CauseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Stalls of one shape by one program or softirq. calls: how often in which.

    who: None where nobody is named; processes: how many of that name, of which it is the first. untold: as of a stall.
    """

    who: Workload | None
    processes: Count
    softirq: str | None
    shape: Shape
    stalls: Count
    wait_seconds: Seconds
    longest_seconds: Seconds
    calls: dict[str, Count]
    untold: bool = False


class StallSummary(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="summary"):
    """All of a watch. causes: most delay first; other_stalls: of causes beyond those that are kept.

    gaps: times without a sample ("silent"), which are no stalls: it is not known that packets waited.
    hertz: of the samples, 0: none were taken, for sampling_reason. symbols_reason: why functions have no names.
    """

    schema: str = SCHEMA
    at: Instant
    seconds: Seconds
    threshold_seconds: Seconds
    hertz: Count
    stalls: Count
    gaps: Count = 0
    cpus: tuple[CpuSummary, ...]
    causes: tuple[CauseSummary, ...]
    other_stalls: Count = 0
    lost: Count = 0
    suppressed: Count = 0
    left_out: Count = 0
    sampling_reason: str | None = None
    symbols_reason: str | None = None


Line = StallLine | NotShown | StallSummary


def line_of(judged: Judged, machine_virtual: bool, devices: Devices = NO_DEVICES) -> StallLine:
    """A stall with names."""
    stall, at = judged.stall, judged.seen.at
    return StallLine(
        at=at.wall - timedelta(seconds=at.boot_seconds - stall.ended_boot_seconds),
        cpu=stall.cpu,
        kind=stall.kind,
        wait_seconds=stall.wait_seconds,
        shape=judged.shape,
        culprit=cause_of(judged, machine_virtual),
        held=tuple(_held(holder, judged.seen) for holder in stall.holders),
        samples=stall.samples,
        expected_samples=stall.expected_samples,
        devices=devices_of(stall, devices),
        samples_cut=stall.samples_cut,
        untold=judged.untold,
    )


def _held(holder: Holder, seen: SeenStall) -> Held:
    task = holder.task
    return Held(
        who=workload_of(task, seen),
        thread=task.thread,
        kernel_thread=task.kernel_thread,
        mode=holder.mode,
        system_call=holder.system_call,
        softirq=holder.softirq,
        samples=holder.samples,
        seconds=holder.seconds,
        functions=path_of(stacks_of([holder]), FUNCTIONS_SHOWN),
    )


class Causes:
    """Stalls by what caused them, of at most so many causes."""

    def __init__(self, machine_virtual: bool) -> None:
        self._virtual = machine_virtual
        self._found: dict[tuple[object, ...], CauseSummary] = {}
        self._met: set[tuple[object, ...]] = set()
        self.stalls = self.gaps = self.other_stalls = 0

    def add(self, judged: Judged) -> None:
        gap = judged.stall.kind == "silent"
        self.gaps, self.stalls = self.gaps + gap, self.stalls + (not gap)
        key = (*key_of(judged, self._virtual, by_function=False), judged.untold)
        before = self._found.get(key)
        if before is None and len(self._found) >= CAUSES_KEPT:
            self.other_stalls += 1
            return
        wait, who = judged.stall.wait_seconds, cause_of(judged, self._virtual)
        calls = Counter(before.calls if before is not None else {})
        if judged.system_call is not None:
            calls[judged.system_call] += 1
        self._found[key] = CauseSummary(
            who=before.who if before is not None and before.who is not None else who,
            processes=(before.processes if before else 0) + (who is not None and self._is_new(key, judged)),
            softirq=judged.softirq,
            shape=judged.shape,
            stalls=(before.stalls if before else 0) + 1,
            wait_seconds=(before.wait_seconds if before else 0.0) + wait,
            longest_seconds=max(before.longest_seconds if before else 0.0, wait),
            calls=dict(calls.most_common(8)),
            untold=judged.untold,
        )

    def _is_new(self, key: tuple[object, ...], judged: Judged) -> bool:
        """Whether this process was not met before, as far as we remember."""
        task = judged.task
        process = (key, task.pid, task.process_started_seconds) if task is not None else key
        if process in self._met or len(self._met) >= CAUSES_KEPT:
            return False
        self._met.add(process)
        return True

    def rows(self) -> tuple[CauseSummary, ...]:
        """Most delay first."""
        return tuple(sorted(self._found.values(), key=lambda row: (-row.wait_seconds, -row.stalls)))


def cpu_summary(cpu: CpuDelays, devices: Devices = NO_DEVICES) -> CpuSummary:
    """A quantile that is in the class of the longest is not above it."""

    def quantile(share: float) -> float | None:
        found = cpu.quantile(share)
        return min(found, cpu.longest_seconds) if found is not None and cpu.longest_seconds else found

    return CpuSummary(
        cpu=cpu.cpu,
        delays=cpu.delayed,
        p50_seconds=quantile(0.5),
        p99_seconds=quantile(0.99),
        p999_seconds=quantile(0.999),
        longest_seconds=cpu.longest_seconds,
        stolen_seconds=cpu.stolen_seconds,
        devices=devices_at((cpu.cpu,), devices),
    )


def summary_of(
    at: datetime,
    last: Stalls,
    causes: Causes,
    cpus: Iterable[CpuDelays],
    left_out: int,
    devices: Devices = NO_DEVICES,
) -> StallSummary:
    """last: the newest sample. left_out: by all samples."""
    return StallSummary(
        at=at,
        seconds=last.watched_seconds,
        threshold_seconds=last.threshold_seconds,
        hertz=last.hertz,
        stalls=causes.stalls,
        gaps=causes.gaps,
        cpus=tuple(cpu_summary(cpu, devices) for cpu in cpus),
        causes=causes.rows(),
        other_stalls=causes.other_stalls,
        lost=last.lost,
        suppressed=last.suppressed,
        left_out=left_out,
        sampling_reason=last.sampling_reason,
        symbols_reason=last.symbols_reason,
    )


def render_json_line(line: Line) -> str:
    """One JSON document in one line."""
    return msgspec.json.format(encode(line), indent=-1)
