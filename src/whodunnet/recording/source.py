"""What a stored recording is to whoever reads it, whichever form it has on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from whodunnet.model.bounds import UINT64_MAX
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads
from whodunnet.recording.header import Header

FIRST: Final = datetime.min.replace(tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)
EARLIEST: Final = datetime(1902, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
LONGEST_SECONDS: Final = 1e10
"""Times that a computation may add to or take from without leaving what a datetime can hold."""


class Row(msgspec.Struct, frozen=True):
    """One snapshot by when it was taken; header: position of its run in Source.headers; number: the source's own.

    used_pages, tracked, waited_us: as recording.peak says, None if it has none.
    """

    header: int
    at: Moment
    number: int
    used_pages: int | None = None
    tracked: int | None = None
    waited_us: int | None = None


class Source(Protocol):
    """A recording on disk. rows are in the order in which they were taken; read raises RecordingError if damaged."""

    headers: Sequence[Header]
    rows: Sequence[Row]

    def read(self, row: Row) -> Snapshot: ...

    def size_bytes(self, row: Row) -> int: ...

    def close(self) -> None: ...


def parse_snapshot(text: bytes) -> Snapshot:
    """Raises ValueError (of which msgspec's errors are) or RecursionError if it is none, or nothing a node can show."""
    snapshot = msgspec.json.decode(text, type=Snapshot)
    possible(snapshot.at)
    for name, sample in snapshot.samples.items():
        _check(name, sample)
    return snapshot


def possible(at: Moment) -> Moment:
    """The same moment. Raises ValueError if no clock can have shown it."""
    if at.wall.tzinfo is None or not (EARLIEST <= at.wall <= LATEST and 0 <= at.boot_seconds <= LONGEST_SECONDS):
        raise ValueError("a snapshot has an impossible time")
    return at


def _check(name: str, sample: AnySample) -> None:
    """Raises ValueError if a sample is under the name of another collector, or beyond what its type can say."""
    if not isinstance(sample, Failure) and sample.__struct_config__.tag != name:
        raise ValueError(f"the sample called {name} is one of {sample.__struct_config__.tag}")
    if isinstance(sample, TcpMemory):
        limits = (sample.low_pages, sample.pressure_pages, sample.max_pages)
        if any(limit is not None and limit > UINT64_MAX for limit in limits):
            raise ValueError("a limit of the TCP memory is more than a kernel can hold")
    # Only such a time can be told in UTC.
    elif isinstance(sample, Workloads) and not all(FIRST <= started <= LAST for started in _starts(sample)):
        raise ValueError("a process or container has an impossible start")


def _starts(sample: Workloads) -> Iterator[datetime]:
    yield from sample.since_by_netns.values()
    for workloads in (sample.by_pid, sample.by_netns, sample.sole_by_netns, sample.by_cgroup_id):
        for workload in workloads.values():
            if workload.process is not None and workload.process.started is not None:
                yield workload.process.started
            if workload.container is not None and workload.container.started is not None:
                yield workload.container.started
