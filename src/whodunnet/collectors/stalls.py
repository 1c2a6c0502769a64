"""The stalls collector: received packets that waited for a CPU, and who held it meanwhile, by BPF.

Needs CAP_BPF with CAP_PERFMON; CAP_SYSLOG for the names of the kernel's functions. Nothing is seen of what happened
before it was started.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

from msgspec.structs import replace

from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.stall_records import Record, summed
from whodunnet.kernel.bpf.stalls import Settings, StallRecorder
from whodunnet.kernel.procfs.cpu_times import read_cpu_times
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.kallsyms import Symbols, read_symbols
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.stalls import CpuDelays, Holder, Stall, Stalls

THRESHOLD_SECONDS: Final = Settings().threshold_seconds
STALLS_LIMIT: Final = 128
"""Of one sample, the longest; the others are counted."""
STACKS_KEPT: Final = 3
"""Of one holder, the commonest."""
READINGS_MAX: Final = 8
"""Of the buffer for one sample: each takes as much as fits in 1 MB, and more may come meanwhile."""
SYMBOLS_SECONDS: Final = 600.0
"""So old the names of functions may be: programs of BPF come and go without a trace. Of modules we know."""


class StallsCollector:
    """Keeps its BPF programs attached between snapshots; each sample has the stalls since the one before."""

    name: ClassVar[str] = "stalls"

    def __init__(
        self,
        roots: Roots,
        support: Support,
        *,
        bpf: bool = True,
        threshold_seconds: float = THRESHOLD_SECONDS,
    ) -> None:
        """bpf: False never loads a BPF program. threshold_seconds: what waits for less is only counted."""
        self._roots, self._support = roots, support
        self._settings = Settings(threshold_seconds=threshold_seconds)
        self._recorder: StallRecorder | None = None
        self._refused = None if bpf else UnreadableError("BPF was switched off with --no-bpf", code="not-collected")
        self._started_seconds = 0.0
        self._stolen_before: dict[int, float] = {}
        self._names = FunctionNames(roots)

    def start(self) -> None:
        """Attach now, not with the first snapshot; where BPF is refused, remember why."""
        if self._recorder is None and self._refused is None:
            try:
                self._recorder = StallRecorder(self._support, self._roots, self._settings)
                self._started_seconds = round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
                self._stolen_before = read_stolen(self._roots)
            except UnreadableError as error:
                self._refused = error

    def collect(self) -> Stalls:
        """The stalls since the last sample. Raises UnreadableError where BPF was refused."""
        self.start()
        recorder = self._recorder
        if recorder is None:
            assert self._refused is not None
            raise self._refused
        recorder.refresh()
        found = [self._in_words(record, recorder.hertz) for record in self._take(recorder)]
        kept = longest(found, STALLS_LIMIT)
        return Stalls(
            stalls=tuple(slimmed(stall) for stall in kept),
            cpus=tuple(self._with_stolen(recorder.read_delays())),
            watched_seconds=round(time.monotonic() - recorder.attached_at, 6),
            started_seconds=self._started_seconds,
            threshold_seconds=self._settings.threshold_seconds,
            hertz=recorder.hertz,
            backlogs_followed=recorder.backlogs_followed,
            threads_watched=recorder.threads_watched,
            lost=recorder.lost,
            suppressed=recorder.suppressed,
            left_out=len(found) - len(kept),
            sampling_reason=recorder.sampling_reason,
            symbols_reason=self._names.reason,
        )

    def wait(self, seconds: float) -> bool:
        """Whether a stall ended within that time. Raises UnreadableError where BPF was refused."""
        self.start()
        if self._recorder is None:
            assert self._refused is not None
            raise self._refused
        return bool(select.select([self._recorder], [], [], seconds)[0])

    def close(self) -> None:
        """Detaches and unloads the BPF programs."""
        if self._recorder is not None:
            self._recorder.close()

    def _take(self, recorder: StallRecorder) -> Iterator[Record]:
        for _ in range(READINGS_MAX):
            records = recorder.read()
            yield from records
            if not records:
                return

    def _in_words(self, record: Record, hertz: int) -> Stall:
        self._names.refresh()
        offset = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        return summed(record, self._names.name, hertz, offset)

    def _with_stolen(self, cpus: Iterable[CpuDelays]) -> Iterator[CpuDelays]:
        """Of CPUs that came up later it is not known how much they had before."""
        stolen = read_stolen(self._roots)
        for cpu in cpus:
            before, now = self._stolen_before.get(cpu.cpu), stolen.get(cpu.cpu)
            if before is None or now is None:
                yield cpu
            else:
                yield replace(cpu, stolen_seconds=max(round(now - before, 3), 0.0))


def read_stolen(roots: Roots) -> dict[int, float]:
    """Seconds that the hypervisor has taken from each CPU since boot; empty where the kernel does not say."""
    try:
        return {cpu: times.steal_ms / 1000 for cpu, times in read_cpu_times(roots).items()}
    except UnreadableError:
        return {}


def longest(stalls: list[Stall], at_most: int) -> list[Stall]:
    """So many, in the order they came."""
    if len(stalls) <= at_most:
        return stalls
    ranked = sorted(range(len(stalls)), key=lambda n: -stalls[n].wait_seconds)
    return [stalls[n] for n in sorted(ranked[:at_most])]


def slimmed(stall: Stall) -> Stall:
    """With the commonest stacks of each holder only."""
    return replace(stall, end=_slimmed(stall.end), holders=tuple(map(_slimmed, stall.holders)))


def _slimmed(holder: Holder) -> Holder:
    return holder if len(holder.stacks) <= STACKS_KEPT else replace(holder, stacks=holder.stacks[:STACKS_KEPT])


class FunctionNames:
    """Names of the kernel's functions, read when the first stall needs them, and anew when they may have changed."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._symbols: Symbols | None = None
        self._modules = b""
        self._read_at = float("-inf")
        self.reason: str | None = None

    def name(self, address: int) -> str | None:
        """The function that an address is in; None where its name is hidden or not known."""
        return self._symbols.name(address) if self._symbols is not None else None

    def refresh(self) -> None:
        """Read them if that was never done, is long ago, or the modules are others by now."""
        if self.reason is not None:
            return
        modules, now = self._loaded_modules(), time.monotonic()
        if self._symbols is not None and modules == self._modules and now - self._read_at < SYMBOLS_SECONDS:
            return
        try:
            self._symbols = read_symbols(self._roots)
        except UnreadableError as error:
            self.reason, self._symbols = str(error), None
        self._modules, self._read_at = modules, now

    def _loaded_modules(self) -> bytes:
        """Name and address of each: without the counts of users, which change."""
        try:
            lines = read_bytes(self._roots.proc / "modules").splitlines()
        except UnreadableError:  # this kernel has none
            return b""
        return b"\n".join(b" ".join((*line.split()[:1], *line.split()[-1:])) for line in lines)
