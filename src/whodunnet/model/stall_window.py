"""The stalls of a window: readings joined, each stall with who was known then, and by how much delays grew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.softnet import Softnet
from whodunnet.model.softnet_window import risen
from whodunnet.model.stalls import DELAY_CLASSES, CpuDelays, DelaySpan, Stall, StallKind, Stalls, delay_since
from whodunnet.model.workload import Workloads

STALLS_IN_WINDOW = 1024
"""Of all readings together, the longest; some 5 KB each."""


class SeenStall(msgspec.Struct, frozen=True):
    """A stall, and what the reading that has it knows besides.

    workloads: who had which pid then. stolen_seconds: what the hypervisor took from this CPU since the reading before,
    None where that is not known. packets_per_second: given to the protocols by this CPU since then, and squeezed: how
    often it ended a round of NET_RX with packets left; None where softnet was not read both times.
    """

    at: Moment
    stall: Stall
    workloads: Workloads | None = None
    stolen_seconds: float | None = None
    packets_per_second: float | None = None
    squeezed: int | None = None


class StallWindow(msgspec.Struct, frozen=True, kw_only=True):
    """at: the newest reading, and the last to say what could be seen. seconds: from the first reading to the newest.

    stalls: those that ended within, in order. cpus: the growth of each, with the longest of any reading.
    lost, suppressed, left_out: stalls that are not in `stalls`, see Stalls.
    unlisted: at least so many delays that were as long as a stall are not in `stalls`, whatever the reason.
    """

    at: Moment
    last: Stalls
    seconds: float
    readings: int
    stalls: tuple[SeenStall, ...]
    cpus: tuple[CpuDelays, ...]
    lost: int
    suppressed: int
    left_out: int

    @property
    def longest_seconds(self) -> float:
        """The longest time that packets waited for NET_RX, a NAPI thread or those before them, as far as it was seen.

        Of readings that are not here (a recording that was thinned, or judged in part) only the classes are known.
        """
        waits = [s.stall.wait_seconds for s in self.stalls if s.stall.kind in ("late", "thread", "queued")]
        classes = [span.since for cpu in self.cpus for span in (*cpu.delays, *cpu.thread_delays)]
        longest = [max(cpu.longest_seconds, cpu.longest_queued_seconds) for cpu in self.cpus]
        return max([*waits, *classes, *longest], default=0.0)

    @property
    def unlisted(self) -> int:
        of_softirqs = self._unlisted("late", [span for cpu in self.cpus for span in cpu.delays])
        return of_softirqs + self._unlisted("thread", [span for cpu in self.cpus for span in cpu.thread_delays])

    def _unlisted(self, kind: StallKind, spans: Sequence[DelaySpan]) -> int:
        """Of the classes above the one that the threshold is in: shorter stalls are in none of them."""
        least = self.last.threshold_seconds
        shortest = next((since for n in range(DELAY_CLASSES) if (since := delay_since(n)) >= least), least)
        listed = sum(s.stall.kind == kind and s.stall.wait_seconds >= shortest for s in self.stalls)
        return max(sum(span.count for span in spans if span.since >= least) - listed, 0)


def stall_window(recording: Recording) -> StallWindow | None:
    """None where stalls were not read. One reading alone has seen nothing: what it has is from before it."""
    read = [(s, x) for s in recording.snapshots for x in s.samples.values() if isinstance(x, Stalls)]
    if not read:
        return None
    steps = [_step(before, then, earlier, snapshot) for (earlier, before), (snapshot, then) in pairwise(read)]
    stalls = sorted((s for step in steps for s in step.stalls), key=lambda s: s.stall.ended_boot_seconds)
    first, last = read[0][0].at, read[-1][0].at
    return StallWindow(
        at=last,
        last=read[-1][1],
        seconds=last.boot_seconds - first.boot_seconds,
        readings=len(read),
        stalls=tuple(stalls),
        cpus=sum_delays(cpu for step in steps for cpu in step.cpus),
        lost=sum(step.lost for step in steps),
        suppressed=sum(step.suppressed for step in steps),
        left_out=sum(step.left_out for step in steps),
    )


class _Step(msgspec.Struct, frozen=True):
    """What came between two readings."""

    stalls: tuple[SeenStall, ...]
    cpus: tuple[CpuDelays, ...]
    lost: int
    suppressed: int
    left_out: int


def _step(before: Stalls, then: Stalls, earlier: Snapshot, snapshot: Snapshot) -> _Step:
    """A recorder that was started anew in between had nothing before."""
    if then.started_seconds != before.started_seconds or then.watched_seconds < before.watched_seconds:
        before = replace(then, stalls=(), cpus=(), lost=0, suppressed=0)
    known = {cpu.cpu: cpu for cpu in before.cpus}
    cpus = tuple(_grown(known.get(cpu.cpu), cpu) for cpu in then.cpus)
    stolen = {cpu.cpu: cpu.stolen_seconds for cpu in cpus}
    workloads = next((x for x in snapshot.samples.values() if isinstance(x, Workloads)), None)
    work = {cpu: _work(earlier, snapshot, cpu) for cpu in {stall.cpu for stall in then.stalls}}
    stalls = tuple(
        SeenStall(snapshot.at, stall, workloads, stolen.get(stall.cpu), *work[stall.cpu]) for stall in then.stalls
    )
    lost, suppressed = max(then.lost - before.lost, 0), max(then.suppressed - before.suppressed, 0)
    return _Step(stalls, cpus, lost, suppressed, then.left_out)


def _work(earlier: Snapshot, snapshot: Snapshot, cpu: int) -> tuple[float | None, int | None]:
    """Packets in a second, and rounds ended with packets left, of one CPU between two snapshots."""
    readings = [x.by_cpu for s in (earlier, snapshot) for x in s.samples.values() if isinstance(x, Softnet)]
    seconds = snapshot.at.boot_seconds - earlier.at.boot_seconds
    if len(readings) != 2 or any(cpu not in by_cpu for by_cpu in readings) or seconds <= 0:
        return None, None
    work = risen(readings[0][cpu], readings[1][cpu])
    return work.processed / seconds, work.squeezed


def _grown(before: CpuDelays | None, then: CpuDelays) -> CpuDelays:
    if before is None:
        return then
    stolen = None
    if before.stolen_seconds is not None and then.stolen_seconds is not None:
        stolen = max(then.stolen_seconds - before.stolen_seconds, 0.0)
    return replace(
        then,
        delays=_spans_grown(before.delays, then.delays),
        thread_delays=_spans_grown(before.thread_delays, then.thread_delays),
        samples=max(then.samples - before.samples, 0),
        stolen_seconds=stolen,
    )


def _spans_grown(before: Sequence[DelaySpan], then: Sequence[DelaySpan]) -> tuple[DelaySpan, ...]:
    known = {(span.since, span.until): span.count for span in before}
    grown = (DelaySpan(s.since, s.until, s.count - known.get((s.since, s.until), 0)) for s in then)
    return tuple(span for span in grown if span.count > 0)


def sum_delays(growths: Iterable[CpuDelays]) -> tuple[CpuDelays, ...]:
    """All growth of a CPU as one, with the longest of any."""
    found: dict[int, list[CpuDelays]] = {}
    for cpu in growths:
        found.setdefault(cpu.cpu, []).append(cpu)
    return tuple(_sum(found[number]) for number in sorted(found))


def _sum(growths: list[CpuDelays]) -> CpuDelays:
    stolen = [cpu.stolen_seconds for cpu in growths if cpu.stolen_seconds is not None]
    return CpuDelays(
        cpu=growths[0].cpu,
        delays=_spans_sum(span for cpu in growths for span in cpu.delays),
        thread_delays=_spans_sum(span for cpu in growths for span in cpu.thread_delays),
        longest_seconds=max(cpu.longest_seconds for cpu in growths),
        longest_run_seconds=max(cpu.longest_run_seconds for cpu in growths),
        longest_queued_seconds=max(cpu.longest_queued_seconds for cpu in growths),
        samples=sum(cpu.samples for cpu in growths),
        stolen_seconds=sum(stolen) if stolen else None,
    )


def _spans_sum(spans: Iterable[DelaySpan]) -> tuple[DelaySpan, ...]:
    counts: dict[tuple[float, float | None], int] = {}
    for span in spans:
        counts[span.since, span.until] = counts.get((span.since, span.until), 0) + span.count
    ordered = sorted(counts.items(), key=lambda item: item[0][0])
    return tuple(DelaySpan(since, until, count) for (since, until), count in ordered)


def bounded_stalls(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The same window with at most STALLS_IN_WINDOW, those of most weight; the others are counted as left out."""
    samples = [x for snapshot in snapshots for x in snapshot.samples.values() if isinstance(x, Stalls)]
    told = frozenset(stall.cpu for x in samples for stall in x.stalls if stall.kind in ("late", "long"))
    weights = sorted((_weight(stall, told) for x in samples for stall in x.stalls), reverse=True)
    if len(weights) <= STALLS_IN_WINDOW:
        return list(snapshots)
    least = weights[STALLS_IN_WINDOW - 1]
    room = STALLS_IN_WINDOW - sum(weight > least for weight in weights)  # for those of just that weight
    found = []
    for snapshot in snapshots:
        changed: dict[str, AnySample] = {}
        for name, sample in snapshot.samples.items():
            if isinstance(sample, Stalls):
                sample, room = _shortened(sample, told, least, room)
            changed[name] = sample
        found.append(replace(snapshot, samples=changed))
    return found


def _weight(stall: Stall, told: Collection[int]) -> tuple[bool, float]:
    """A wait behind other packets tells less than the stalls of its CPU that it came of, which are shorter.

    told: CPUs with such stalls.
    """
    return stall.kind != "queued" or stall.cpu not in told, stall.wait_seconds


def _shortened(sample: Stalls, told: Collection[int], least: tuple[bool, float], room: int) -> tuple[Stalls, int]:
    """Without stalls of less weight, and with as many of just that as there is room for; the room then left."""
    kept = []
    for stall in sample.stalls:
        weight = _weight(stall, told)
        if weight == least:
            room -= 1
        if weight > least or (weight == least and room >= 0):
            kept.append(stall)
    if len(kept) == len(sample.stalls):
        return sample, room
    left_out = sample.left_out + len(sample.stalls) - len(kept)
    return replace(sample, stalls=tuple(kept), left_out=left_out), room
