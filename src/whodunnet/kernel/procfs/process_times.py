"""CPU time of every process, as cheap as it can be read: /proc/<pid>/stat and schedstat (fs/proc/array.c, base.c)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import integer, shown
from whodunnet.kernel.procfs.kernel_threads import has_kernel_flag
from whodunnet.kernel.procfs.ksoftirqd import parse_schedstat
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean

PROCESSES_MAX: Final = 4096
THREADS_MAX: Final = 256
"""Of all running and busy processes together, whose wait is read thread by thread."""
_FILE_BYTES: Final = 4096
_FIELDS: Final = 20  # after the name: state ppid ... utime 11 stime 12 ... nice 16 num_threads 17 ... starttime 19
_PROCESSOR: Final = 36
_RT_PRIORITY: Final = 37


class ProcessTimes(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Since it was started, of all threads, ended ones too. running: its first thread is running or ready.

    wait_ns: how long it was ready and others ran: of all threads where `whole`, else of the first one; None: not known.
    on_cpu: where its only thread runs or is ready; None of others. realtime: priority of the first thread, 0: none.
    """

    pid: int
    parent: int
    comm: str
    started_ticks: int
    user_ticks: int
    kernel_ticks: int
    nice: int
    running: bool
    threads: int = 1
    kernel_thread: bool = False
    on_cpu: int | None = None
    realtime: int = 0
    wait_ns: int | None = None
    whole: bool = False

    @property
    def cpu_ms(self) -> int:
        return (self.user_ticks + self.kernel_ticks) * 1000 // TICKS_PER_SECOND

    @property
    def kernel_ms(self) -> int:
        return self.kernel_ticks * 1000 // TICKS_PER_SECOND


def parse_times(data: bytes, source: str) -> ProcessTimes:
    """Of a stat, whose name may hold any bytes. Raises MalformedError naming source."""
    pid, parenthesis, rest = data.partition(b" (")
    comm, closing, after = rest.rpartition(b") ")
    fields = after.split()
    if not parenthesis or not closing or len(fields) < _FIELDS:
        raise MalformedError(f"{source}: should be a pid, a name in parentheses and numbers, and is {shown(data)}")
    numbers = [integer(fields[i], source, f"field {i + 3}") for i in (1, 11, 12, 16, 19, 17)]
    later = [integer(field, source, "CPU or priority") for field in fields[_PROCESSOR : _RT_PRIORITY + 1]]
    if min(*numbers[:3], *numbers[4:], *later) < 0:
        raise MalformedError(f"{source}: has a number below zero: {shown(after)}")
    return ProcessTimes(
        pid=integer(pid, source, "pid"),
        parent=numbers[0],
        comm=clean(comm.decode(errors="replace")),
        started_ticks=numbers[4],
        user_ticks=numbers[1],
        kernel_ticks=numbers[2],
        nice=numbers[3],
        running=fields[0] == b"R",
        threads=numbers[5],
        kernel_thread=has_kernel_flag(fields),
        on_cpu=later[0] if later and fields[0] == b"R" and numbers[5] == 1 else None,
        realtime=later[1] if len(later) > 1 else 0,
    )


def read_every_process(
    roots: Roots, *, sleepers: bool = True, is_busy: Callable[[ProcessTimes], bool] = lambda _: False
) -> tuple[dict[int, ProcessTimes], int]:
    """By pid, and how many were not read. Those that end meanwhile are left out. Raises UnreadableError.

    sleepers: also the wait of those that are not running, which takes as long again. is_busy: of whom all threads are
    read as well, although the first one may sleep while the others run.
    """
    pids = list_pids(roots.proc)
    found: dict[int, ProcessTimes] = {}
    threads = THREADS_MAX
    for pid in pids[-PROCESSES_MAX:]:
        place = f"{roots.proc}/{pid}"
        try:
            times = parse_times(_read(f"{place}/stat"), place)
            every = times.running or is_busy(times)
            found[pid], threads = _with_wait(place, times, threads, every=every, sleepers=sleepers)
        except (OSError, UnreadableError):
            continue
    return found, max(len(pids) - PROCESSES_MAX, 0)


def read_times(roots: Roots, pid: int) -> ProcessTimes | None:
    """Without any wait; None of one that is gone, or hidden from us."""
    place = f"{roots.proc}/{pid}"
    try:
        return parse_times(_read(f"{place}/stat"), place)
    except (OSError, UnreadableError):
        return None


def read_own_wait_ns(roots: Roots) -> int:
    """How long our own threads were ready and others ran; 0 where we are not in that procfs."""
    return sum(_of_threads(f"{roots.proc}/self/task", THREADS_MAX) or ())


def _read(path: str) -> bytes:
    """A file of a process in one piece, without the cost of a Path. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _FILE_BYTES)
    finally:
        os.close(descriptor)


def _with_wait(
    place: str, times: ProcessTimes, threads: int, *, every: bool, sleepers: bool
) -> tuple[ProcessTimes, int]:
    """With its wait, of every thread if wanted, and how many threads may still be read."""
    if every and threads > 0:
        waits = _of_threads(f"{place}/task", threads)
        if waits is not None:
            return msgspec.structs.replace(times, wait_ns=sum(waits), whole=True), threads - len(waits)
    if not sleepers and not times.running:
        return times, threads
    try:
        found = parse_schedstat(_read(f"{place}/schedstat"), place)
    except (OSError, UnreadableError):
        return times, threads
    return msgspec.structs.replace(times, wait_ns=found.wait_ns, whole=times.threads == 1), threads


def _of_threads(place: str, at_most: int) -> list[int] | None:
    """None if there are more threads, or one cannot be read."""
    try:
        names = os.listdir(place)  # noqa: PTH208
        if len(names) > at_most:
            return None
        return [parse_schedstat(_read(f"{place}/{name}/schedstat"), name).wait_ns for name in names]
    except (OSError, UnreadableError):
        return None
