"""The state of TCP memory over the window, as several rules need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property

import msgspec

from whodunnet.model.connection_places import boot_seconds
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads, owner_key
from whodunnet.rules.files_spent import files_spent


class Window(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Newest samples of a recording with the totals that shares are taken of; memory is None where it was not read.

    files_spent: whether the node had no file left (fs.file-max) lately. named: every reading of owners.
    """

    node: str
    at: Moment
    seconds: float
    snapshots: int
    sockets: Sockets
    workloads: Workloads
    memory: TcpMemory | None
    files_spent: bool = False
    named: Sequence[tuple[Moment, Workloads]] = ()

    @cached_property
    def began_by_pid(self) -> dict[int, float]:
        """When the newest process of each pid began, on the boot clock, as far as that was read.

        By the moment at which it was first looked up in this window: the wall clock may have been set since.
        """
        first: dict[tuple[int, datetime], float | None] = {}
        for at, workloads in self.named:
            for pid, started in _starts(workloads):
                first.setdefault((pid, started), boot_seconds(at, started))
        return {pid: began for (pid, _), began in first.items() if began is not None}

    @property
    def total_bytes(self) -> int:
        """All TCP memory: what was found, or what the kernel counts if that is more."""
        counted = self.memory.used_pages * self.memory.page_size_bytes if self.memory else 0
        return max(counted, self.sockets.tcp_memory_bytes, 1)

    @property
    def max_bytes(self) -> int | None:
        """The third number of tcp_mem, in bytes."""
        if self.memory is None or self.memory.max_pages is None:
            return None
        return self.memory.max_pages * self.memory.page_size_bytes

    @property
    def exhausted(self) -> bool:
        """TCP memory is at or above its maximum now."""
        return self.memory is not None and self.memory.max_pages is not None and (
            self.memory.used_pages >= self.memory.max_pages
        )  # fmt: skip

    @property
    def strained(self) -> bool:
        """The kernel is short of TCP memory: above the pressure mark, or its flag is still set."""
        m = self.memory
        return m is not None and (
            m.under_pressure is True or (m.pressure_pages is not None and m.used_pages >= m.pressure_pages)
        )

    @property
    def attributed_of(self) -> str:
        """What `attributed` is a share of: "memory", or "sockets" where memory is within the error of its count."""
        floor = self.memory.drift_pages * self.memory.page_size_bytes if self.memory else 0
        return "memory" if self.total_bytes > max(floor, 1) else "sockets"

    @property
    def alloc_sockets(self) -> int | None:
        """The kernel's own number of TCP sockets, read around the pass where the recording has it."""
        if self.sockets.alloc_sockets is not None:
            return self.sockets.alloc_sockets
        return self.memory.alloc_sockets if self.memory is not None else None

    @cached_property
    def attributed(self) -> float:
        """Share of all TCP memory whose owner is known; of all sockets where memory is too small to tell."""
        named = self.workloads.by_pid
        owners = self.sockets.queue_owners(lambda pid: owner_key(pid, named.get(pid)))
        known = [g for g in self.sockets.groups if g.protocol == "tcp" and self.sockets.owner_of(g, owners) in named]
        if self.attributed_of == "memory":
            return min(sum(g.memory_bytes for g in known) / self.total_bytes, 1.0)
        alloc = max(self.alloc_sockets or 0, self.sockets.tcp_sockets, 1)
        return min(sum(g.sockets for g in known) / alloc, 1.0)


def _starts(workloads: Workloads) -> Iterator[tuple[int, datetime]]:
    for pid, workload in workloads.by_pid.items():
        if workload.process is not None and workload.process.started is not None:
            yield pid, workload.process.started


def window_of(recording: Recording) -> Window | None:
    """None without a sockets sample."""
    series = recording.series(Sockets)
    if not series:
        return None
    at, sockets = series[-1]
    return Window(
        node=recording.node.hostname,
        at=at,
        seconds=at.boot_seconds - series[0][0].boot_seconds,
        snapshots=len(series),
        sockets=sockets,
        workloads=recording.last(Workloads) or Workloads(),
        memory=recording.last(TcpMemory),
        files_spent=files_spent(recording),
        named=recording.series(Workloads),
    )
