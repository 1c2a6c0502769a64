"""Takes the snapshots of a window on the live node and makes them a recording."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection

from msgspec.structs import replace

from whodunnet.collectors.snapshots import SnapshotTaker, boot_seconds
from whodunnet.kernel.host import Place, find_place
from whodunnet.kernel.namespaces import join_cgroups
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, node, read_support
from whodunnet.model.connection_window import PARTS
from whodunnet.model.flow_window import bounded
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.stall_window import bounded_stalls

INTERVAL_SECONDS = 1.0
SNAPSHOTS_MAX = 61
BUSY_SHARE = 0.1
"""Snapshots are taken so far apart that collecting takes at most this share of one CPU."""

CHEAP = ("connections", "retransmissions", "clock")
"""Sums without the names to them: read in between where only two or three whole snapshots fit into the window, as three
parts of it tell what lasts from what came at once, and the sooner the clock is read the smaller a step shows."""
TURNS = {1: 3, 2: 4}
"""By how many whole snapshots follow the first: at how many moments any is taken."""
IN_PARTS_SECONDS = 2.0
"""Parts of a shorter window would take a start of a moment for something that lasts."""
LASTING = ("connections", "retransmissions")
"""Of these it matters what lasts: for them a window may go on."""
ENOUGH = PARTS + 1
"""Readings that tell what lasts: the begin of so many parts, and the end of each."""
GOES_ON = 3
"""So many times as long as was asked for is the longest that a window becomes, where readings come so late or are so
dear that too few fit into it to tell what lasts."""
GOES_ON_SECONDS = 3.0
"""A shorter one ends when it was said to: whoever asks for it has little time."""


class _Turns:
    """When the next snapshot of a window is due, and whether a whole one: the first has been taken, the last is one."""

    def __init__(self, begin: float, seconds: float, cost_seconds: float, *, cheap: bool, goes_on: bool) -> None:
        """begin: of the window, on the boot clock. cost_seconds: CPU time of the first snapshot."""
        apart = max(INTERVAL_SECONDS, seconds / (SNAPSHOTS_MAX - 1), cost_seconds / BUSY_SHARE)
        self._count = max(1, round(seconds / apart)) if seconds > 0 else 0
        self._turns = TURNS.get(self._count, self._count) if seconds >= IN_PARTS_SECONDS else self._count
        self._begin, self._seconds, self._cheap = begin, seconds, cheap
        self._goes_on = goes_on and seconds >= GOES_ON_SECONDS
        self._latest = begin + seconds * (GOES_ON if self._goes_on else 1)
        self._step = seconds / max(self._turns, 1)
        self._n, self._at, self._readings = 0, begin, 1

    def next(self) -> tuple[float, bool] | None:
        """When on the boot clock, and whether a whole one; None after the last."""
        n = self._n + 1
        while n < self._turns and not self._cheap and not self._is_whole(n):
            n += 1
        end = self._begin + self._seconds if self._readings >= ENOUGH else self._latest
        if self._n and self._at >= end:  # readings come late: one after the end is the last
            n = self._turns + 1 if self._is_whole(self._n) else self._turns
        if n > self._turns:
            return None
        planned = self._begin + n * self._seconds / self._turns
        later = self._at + (n - self._n) * self._step if self._goes_on else planned
        self._n = n
        return max(planned, min(later, end)), self._is_whole(n)

    def taken(self, at: float, cost_seconds: float) -> None:
        """The next one was, at that moment. One that is cheap by name only puts off what follows, or is the last."""
        self._at, self._readings = at, self._readings + 1
        apart = cost_seconds / BUSY_SHARE
        if self._is_whole(self._n) or apart <= self._step:
            return
        fits = self._count == 1 and at + (self._turns - self._n) * apart <= self._latest
        self._cheap, self._step = fits, apart if fits else self._step

    def _is_whole(self, n: int) -> bool:
        return n * self._count % self._turns == 0


class Watch:
    """One window on this node. Use it in a `with` block; `recording` is valid once there is a snapshot."""

    def __init__(
        self,
        wanted: Collection[str],
        *,
        bpf: bool = True,
        active: bool = False,
        addresses: bool = False,
        roots: Roots | None = None,
    ) -> None:
        """wanted: names of collectors. active, addresses: as of SnapshotTaker. roots: others than this machine's."""
        self._started = time.perf_counter(), time.process_time()
        self.place: Place = find_place() if roots is None else Place(roots=roots)
        self.roots = self.place.roots
        if self.place.container is not None and self.place.host is not None:
            join_cgroups(self.roots)
        self.support: Support = read_support(self.roots)
        self._wanted = frozenset(wanted)
        self._taker = SnapshotTaker(self.roots, self.support, wanted, bpf=bpf, active=active, addresses=addresses)
        self._snapshots: list[Snapshot] = []

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self._taker.__exit__(*error)

    def standing(self) -> Snapshot:
        """What stands without a window: fill levels, limits, log. Not a part of the recording."""
        return self._taker.take(("tcp_memory", "kernel_log"))

    def take(self) -> Snapshot:
        """One snapshot of everything that is wanted, for whoever keeps it elsewhere. Not a part of the recording."""
        return self._taker.take()

    def start(self) -> None:
        """Attach what watches from now on: else the first snapshot does, and is dearer than all others."""
        self._taker.start()

    def watch(self, seconds: float, sleep: Callable[[float], None] = time.sleep, *, goes_on: bool = False) -> None:
        """Snapshots over the window, the first at once and the last at its end.

        goes_on: for up to GOES_ON times as long, where it matters what lasts and too few come within it to tell.
        """
        self.start()
        begin, cost = self._read(whole=True)
        goes_on = goes_on and not self._wanted.isdisjoint(LASTING)
        cheap = not self._wanted.isdisjoint(CHEAP)
        turns = _Turns(begin, seconds, cost, cheap=cheap, goes_on=goes_on)
        while (turn := turns.next()) is not None:
            due, whole = turn
            sleep(max(0.0, due - boot_seconds()))
            turns.taken(*self._read(whole=whole))

    def _read(self, *, whole: bool) -> tuple[float, float]:
        """One more snapshot; its moment on the boot clock, and its CPU seconds."""
        cpu = time.process_time()
        taken = self._taker.take() if whole else replace(self._taker.take(CHEAP), partial=True)
        self._snapshots = bounded_stalls(bounded([*self._snapshots, taken]))
        return taken.at.boot_seconds, time.process_time() - cpu

    @property
    def recording(self) -> Recording:
        """Everything so far, with what it cost until now."""
        wall, cpu = self._started
        return Recording(
            node=node(self.support),
            snapshots=tuple(self._snapshots),
            costs=self._taker.costs,
            wall_seconds=round(time.perf_counter() - wall, 3),
            cpu_seconds=round(time.process_time() - cpu, 3),
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
