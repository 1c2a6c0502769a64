"""Who takes the time of the CPUs: processes by the container, unit or program they belong to; and floods of the log."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Process, Workload, Workloads, owner_key
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_window import CpuWindow

INIT = 1


class Owner(msgspec.Struct, kw_only=True):
    """One owner of processes; pid, comm, nice and workload are those of the one that took most. more: besides pids.

    share: of all that CPUs did while processes were read, without interrupts. kernel_thread: so is the one that took
    most, and works for others (ksoftirqd for packets, kworker for whoever asked).
    """

    workload: Workload
    pid: int
    comm: str
    pids: set[int]
    more: int = 0
    cpu_ms: int = 0
    kernel_ms: int = 0
    largest_ms: int = 0
    share: float = 0.0
    log_daemon: bool = False
    kernel_thread: bool = False
    nice: int = 0


class Delayed(NamedTuple):
    """A process that was ready for so long while others ran, and how long it ran; smaller ones of its name and its
    parent are in these sums."""

    workload: Workload
    waited_ms: int
    ran_ms: int
    processes: int = 1


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of the kernel's log. rate: a second, of all kinds; share: of the kind with most, of those compared."""

    text: str
    rate: float
    lines: int
    share: float
    seconds: float


def consumers_of(recording: Recording, window: CpuWindow) -> list[Owner]:
    """Most first. Processes of one program and one parent are one owner where they are in no container or unit."""
    found: dict[str, Owner] = {}
    named = _named(recording)
    every = [consumer for _, sample in recording.series(CpuPressure) for consumer in sample.consumers]
    forked = {(consumer.parent, consumer.comm) for consumer in every}
    for consumer in every:
        workload = named.get(consumer.pid) or _by_name(consumer)
        key = _key(consumer, workload, forked)
        new = Owner(workload=workload, pid=consumer.pid, comm=consumer.comm, pids=set(), nice=consumer.nice)
        owner = found.setdefault(key, new)
        _add(owner, consumer, workload)
    did = (window.busy - window.stolen - window.interrupts) * window.last.cpus * window.measured_seconds * 1000
    whole = max(did, sum(owner.cpu_ms for owner in found.values()), 1.0)
    for owner in found.values():
        owner.share = round(owner.cpu_ms / whole, 6)
    return sorted(found.values(), key=lambda owner: (-owner.cpu_ms, owner.pid))


def most_delayed(recording: Recording, apart_from: Collection[int], entry: Entry) -> Delayed | None:
    """Who waited most besides these, if that alone is enough to be a shortage."""
    samples = [sample for _, sample in recording.series(CpuPressure)]
    by_pid: dict[int, list[Consumer]] = {}
    for consumer in (consumer for sample in samples for consumer in sample.consumers):
        if consumer.pid not in apart_from:
            by_pid.setdefault(consumer.pid, []).append(consumer)
    sums = {pid: (sum(c.wait_ms or 0 for c in of), sum(c.cpu_ms for c in of)) for pid, of in by_pid.items()}
    pid = max(sums, key=lambda pid: (sums[pid], -pid), default=None)
    if pid is None:
        return None
    waited, ran = sums[pid]
    seconds = sum(sample.measured_seconds or 0.0 for sample in samples)
    if waited < max(entry.limit("min_waiting") * 1000 * seconds, entry.limit("min_slowed") * ran, 1):
        return None
    processes = 1 + max(consumer.more for consumer in by_pid[pid])
    return Delayed(_named(recording).get(pid) or _by_name(by_pid[pid][-1]), waited, ran, processes)


def _named(recording: Recording) -> dict[int, Workload]:
    found: dict[int, Workload] = {}
    for _, workloads in recording.series(Workloads):
        found |= workloads.by_pid
    return found


def _by_name(consumer: Consumer) -> Workload:
    return Workload(process=Process(pid=consumer.pid, comm=consumer.comm))


def _key(consumer: Consumer, workload: Workload, forked: set[tuple[int, str]]) -> str:
    """forked: pid and name of who has children of its own name that are consumers too; these are one with it.

    Threads of the kernel that do the same are one: ksoftirqd/0 and ksoftirqd/1, kworker/0:1 and kworker/u8:2.
    """
    key = owner_key(consumer.pid, workload)
    if not key.startswith("pid "):
        return key
    if consumer.kernel_thread:
        return f"kernel {consumer.comm.partition('/')[0]}"
    if (consumer.pid, consumer.comm) in forked:
        return f"family of {consumer.pid} {consumer.comm}"
    return f"family of {consumer.parent} {consumer.comm}" if consumer.parent > INIT else key


def _add(owner: Owner, consumer: Consumer, workload: Workload) -> None:
    owner.cpu_ms += consumer.cpu_ms
    owner.kernel_ms += consumer.kernel_ms
    owner.pids.add(consumer.pid)
    owner.more = max(owner.more, consumer.more)
    owner.log_daemon = owner.log_daemon or consumer.log_daemon
    if consumer.cpu_ms > owner.largest_ms:
        owner.nice, owner.kernel_thread = consumer.nice, consumer.kernel_thread
        owner.largest_ms, owner.pid, owner.comm, owner.workload = (
            consumer.cpu_ms, consumer.pid, consumer.comm, workload
        )  # fmt: skip


def flood_of(recording: Recording, entry: Entry) -> Flood | None:
    """A kind of lines that the kernel wrote within the window at a rate that keeps a log daemon busy."""
    series = recording.series(KernelLog)
    if len(series) < 2:
        return None
    (begin, first), (end, last) = series[0], series[-1]
    seconds = end.boot_seconds - begin.boot_seconds
    lines = max(last.written - first.written, 0) + max(last.lost - first.lost, 0)
    if not last.repeated or seconds <= 0 or lines < entry.limit("min_line_rate") * seconds:
        return None
    before = {line.text: line.lines for line in first.repeated}
    most = max(last.repeated, key=lambda line: line.lines - before.get(line.text, 0))
    compared = sum(line.lines for line in last.repeated)
    share = most.lines / max(compared, 1)
    return Flood(text=most.text, rate=lines / seconds, lines=lines, share=share, seconds=seconds)
