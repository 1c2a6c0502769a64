"""Takes the snapshots of a window on the live node and makes them a recording."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection

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

CHEAP = ("tcp_memory", "connections", "retransmissions", "clock")
"""Sums that the kernel has ready: read also where a whole snapshot fits in only at both ends of the window, as what
lasts is told from what came at once by thirds of it."""


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
        turns = 3 if count == 1 and seconds >= 3 * INTERVAL_SECONDS else count
        for n in range(1, turns + 1):
            sleep(max(0.0, begin + n * seconds / turns - boot_seconds()))
            taken = self._taker.take() if turns == count or n == turns else self._taker.take(CHEAP)
            self._snapshots = bounded_stalls(bounded([*self._snapshots, taken]))

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
