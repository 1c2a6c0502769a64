"""A recording of any length as some hundred columns: what each owner had, and what the kernel counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import Literal, TypeVar

import msgspec

from whodunnet.errors import UsageError
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Node, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.text import clean
from whodunnet.model.workload import Workloads
from whodunnet.report.chart_clock import Clock
from whodunnet.report.owner import NOT_GROUPED, By, Owner, Owners, owner_label

What = Literal["tcp-memory", "sockets"]
COLUMNS_MAX = 800
OWNERS_KEPT = 64
"""By name, in each column; what the others have is one number."""
COLUMNS_PER_BOOT = 4
"""At least, on the average: columns of different boots are never merged, so their number has to be bounded."""
S = TypeVar("S", Sockets, TcpMemory, Workloads)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshot with the largest total of some that follow each other. Values are bytes, or sockets.

    seconds: of that snapshot, since the recording's first one; since, until: of the first and last one it stands for.
    boot: 0 for the first boot. owners: the largest ones by label, None where sockets were not read. rest: all others.
    kernel: the kernel's own total. limits: low, pressure and max of tcp_mem; None where unknown or not asked for.
    """

    boot: int
    seconds: float
    since: float
    until: float
    owners: dict[str, int] | None
    rest: int = 0
    kernel: int | None = None
    limits: tuple[int, int, int] | None = None

    @property
    def found(self) -> int:
        """The sum over all owners."""
        return sum((self.owners or {}).values()) + self.rest

    @property
    def rank(self) -> tuple[bool, int]:
        """Larger ones stay; one without owners does not hide one with them."""
        return self.owners is not None, self.found if self.kernel is None else self.kernel


@dataclass
class _Candidate:
    """The snapshot that the open column shows so far."""

    boot: int
    seconds: float
    since: float
    until: float
    snapshot: Snapshot
    rank: tuple[bool, int]


class Columns:
    """Takes snapshots one by one in the order of the recording, and keeps at most two of them.

    A column gets wider as the recording turns out to be longer. The first and the last snapshot stay as they are.
    """

    def __init__(self, what: What, by: By, at_most: int = COLUMNS_MAX) -> None:
        self.clock = Clock()
        self.snapshots = 0
        self.unread = 0
        self.unread_reason = ""
        self.node: Node | None = None
        self._what, self._by, self._at_most = what, by, at_most
        self._done: list[Column] = []
        self._open: _Candidate | None = None
        self._last: _Candidate | None = None
        self._width = 0.0
        self._labels: dict[str, str] = {}

    def add(self, node: Node, snapshot: Snapshot) -> None:
        """Raises UsageError where there are more boots than a chart can show."""
        boot, seconds = self.clock.tick(node.boot_id, snapshot.at)
        boots_max = self._at_most // COLUMNS_PER_BOOT
        if boot >= boots_max:
            raise UsageError(f"there are more than {boots_max} boots in this time; choose less with --from and --to")
        self.node = node
        self.snapshots += 1
        self._note_failure(snapshot)
        self._last = _Candidate(boot, seconds, seconds, seconds, snapshot, self._rank(snapshot))
        if not self._done:
            self._done.append(self._column(self._last))
        elif self._open is not None and self._same_column(self._open, self._last):
            self._open = _larger(self._open, self._last)
        else:
            self._close()
            self._open = self._last

    def finish(self) -> list[Column]:
        """All columns, oldest first."""
        last = self._last
        hidden = last is not None and self._open is not None and self._open.snapshot is not last.snapshot
        self._close()
        if last is not None and hidden:
            self._done.append(self._column(last))
        return self._done

    def _note_failure(self, snapshot: Snapshot) -> None:
        if _sample(snapshot, Sockets) is not None:
            return
        sample = snapshot.samples.get("sockets")
        self.unread += 1
        self.unread_reason = clean(sample.reason) if isinstance(sample, Failure) else "sockets were not collected"

    def _same_column(self, earlier: _Candidate | Column, later: _Candidate | Column) -> bool:
        if not self._width or earlier.boot != later.boot:
            return False
        return int(earlier.since / self._width) == int(later.since / self._width)

    def _close(self) -> None:
        if self._open is not None:
            self._done.append(self._column(self._open))
            self._open = None
        while len(self._done) > self._at_most:
            self._width = self._width * 2 or max(2 * self._done[-1].until / self._at_most, 0.001)
            self._merge()

    def _merge(self) -> None:
        """The first column stays alone."""
        merged = self._done[:1]
        for column in self._done[1:]:
            if len(merged) > 1 and self._same_column(merged[-1], column):
                merged[-1] = _merged(merged[-1], column)
            else:
                merged.append(column)
        self._done = merged

    def _rank(self, snapshot: Snapshot) -> tuple[bool, int]:
        """As Column.rank, without a look at the owners."""
        sockets, memory = _sample(snapshot, Sockets), _sample(snapshot, TcpMemory)
        if memory is not None:
            return sockets is not None, self._kernel(memory)
        return sockets is not None, self._found(sockets) if sockets else 0

    def _kernel(self, memory: TcpMemory) -> int:
        return memory.alloc_sockets if self._what == "sockets" else memory.used_pages * memory.page_size_bytes

    def _found(self, sockets: Sockets) -> int:
        return sockets.tcp_sockets if self._what == "sockets" else sockets.tcp_memory_bytes

    def _column(self, chosen: _Candidate) -> Column:
        sockets, memory = _sample(chosen.snapshot, Sockets), _sample(chosen.snapshot, TcpMemory)
        workloads = _sample(chosen.snapshot, Workloads) or Workloads()
        owners = None if sockets is None else self._largest(sockets, workloads)
        return Column(
            boot=chosen.boot,
            seconds=chosen.seconds,
            since=chosen.since,
            until=chosen.until,
            owners=owners,
            rest=self._found(sockets) - sum(owners.values()) if sockets and owners is not None else 0,
            kernel=None if memory is None else self._kernel(memory),
            limits=None if memory is None or self._what == "sockets" else _limits(memory),
        )

    def _largest(self, sockets: Sockets, workloads: Workloads) -> dict[str, int]:
        """By label, which stays the same when a process changes its state, or a container gets another process."""
        by_label: Counter[str] = Counter()
        for owner, value in nlargest(OWNERS_KEPT, self._sums(sockets, workloads).items(), key=lambda item: item[1]):
            if value:
                label = owner_label(owner)
                by_label[self._labels.setdefault(label, label)] += value
        return dict(by_label)

    def _sums(self, sockets: Sockets, workloads: Workloads) -> dict[Owner, int]:
        """One number for each owner: a tenth of the time that the rows of report/owners.py take."""
        owners = Owners(sockets, workloads, self._by)
        of_sockets = self._what == "sockets"
        sums: dict[Owner, int] = {}
        for group in sockets.groups:
            if group.protocol == "tcp":
                owner = owners.of(group)
                sums[owner] = sums.get(owner, 0) + (group.sockets if of_sockets else group.memory_bytes)
        sums[NOT_GROUPED] = sockets.other_sockets if of_sockets else sockets.other_memory_bytes
        return sums


def read_columns(readings: Iterable[tuple[Node, Snapshot]], columns: Columns) -> list[Column]:
    """Everything into columns."""
    for node, snapshot in readings:
        columns.add(node, snapshot)
    return columns.finish()


def _sample(snapshot: Snapshot, kind: type[S]) -> S | None:
    return next((sample for sample in snapshot.samples.values() if isinstance(sample, kind)), None)


def _limits(memory: TcpMemory) -> tuple[int, int, int] | None:
    low, pressure, most = memory.low_pages, memory.pressure_pages, memory.max_pages
    if low is None or pressure is None or most is None:
        return None
    page = memory.page_size_bytes
    return low * page, pressure * page, most * page


def _larger(shown: _Candidate, new: _Candidate) -> _Candidate:
    chosen = new if new.rank > shown.rank else shown
    return _Candidate(chosen.boot, chosen.seconds, shown.since, new.until, chosen.snapshot, chosen.rank)


def _merged(earlier: Column, later: Column) -> Column:
    chosen = later if later.rank > earlier.rank else earlier
    return msgspec.structs.replace(chosen, since=earlier.since, until=later.until)
