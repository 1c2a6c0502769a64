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
        self._has_cheap = not {*CHEAP}.isdisjoint(wanted)
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

    def watch(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Snapshots over the window, the first at once and the last at its end."""
        self._taker.start()
        cpu = time.process_time()
        first = self._taker.take()
        self._snapshots.append(first)
        begin = first.at.boot_seconds
        apart = max(INTERVAL_SECONDS, seconds / (SNAPSHOTS_MAX - 1), (time.process_time() - cpu) / BUSY_SHARE)
        count = max(1, round(seconds / apart)) if seconds > 0 else 0
        turns = TURNS.get(count, count) if seconds >= 3 * INTERVAL_SECONDS else count
        is_cheap = self._has_cheap
        for n in range(1, turns + 1):
            whole = n * count % turns == 0
            if not whole and not is_cheap:
                continue
            sleep(max(0.0, begin + n * seconds / turns - boot_seconds()))
            cpu = time.process_time()
            taken = self._taker.take() if whole else replace(self._taker.take(CHEAP), partial=True)
            self._snapshots = bounded_stalls(bounded([*self._snapshots, taken]))
            is_cheap = is_cheap and (whole or time.process_time() - cpu <= BUSY_SHARE * seconds / turns)

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
