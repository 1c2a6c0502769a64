"""The one way to read a recording, whichever form it has on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from whodunnet.errors import RecordingError
from whodunnet.model.sample import CollectorCost
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.recording.choice import choose, follows, unfollowed
from whodunnet.recording.database import MAGIC, Database
from whodunnet.recording.header import Header
from whodunnet.recording.lines import Lines
from whodunnet.recording.source import Row, Source

SNAPSHOTS_MAX = 61
"""As many as a live window has."""

BYTES_MAX = 128 << 20
"""JSON of all snapshots that are judged together; in memory it is about three times as much."""


def open_recording(path: Path) -> StoredRecording:
    """Raises RecordingError if the file is missing, foreign, damaged, of a newer schema or without a snapshot."""
    try:
        # Nothing waits for whoever writes into a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RecordingError(f"{path} cannot be read: it is a pipe or device, no file")
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    source: Source = Database(path) if begin == MAGIC else Lines(path)
    if not source.rows:
        source.close()
        raise RecordingError(f"{path} holds no snapshot")
    return StoredRecording(path, source)


def load(path: Path) -> Recording:
    """Every snapshot of a recording's newest boot. Raises RecordingError."""
    with open_recording(path) as stored:
        return stored.recording(at_most=len(stored))


class StoredRecording:
    """A recording on disk, read piece by piece; use it in a `with` block."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self._source = source

    def __enter__(self) -> StoredRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def __len__(self) -> int:
        return len(self._source.rows)

    @property
    def start(self) -> datetime:
        """Wall clock of the oldest snapshot."""
        return self._source.rows[0].at.wall

    @property
    def end(self) -> datetime:
        """Wall clock of the newest snapshot."""
        return self._source.rows[-1].at.wall

    def snapshots(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[tuple[Node, Snapshot]]:
        """Every snapshot between two times of the wall clock, over all boots, one in memory at a time."""
        for row in self._between(start, end):
            yield self._source.headers[row.header].node, self._source.read(row)

    def recording(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        at_most: int = SNAPSHOTS_MAX,
        seconds: float | None = None,
    ) -> Recording:
        """The newest boot between two times of the wall clock; of many snapshots `at_most`.

        seconds: only so much of it, up to its end, by the clock that nobody sets.
        Raises RecordingError if there is none, or one of them is damaged.
        """
        rows = self._between(start, end)
        if not rows:
            raise RecordingError(
                f"{self.path} has no snapshot between those times; "
                f"it reaches from {_utc(self.start)} to {_utc(self.end)}"
            )
        node = self._node(rows[-1])
        of_boot = [row for row in rows if self._node(row).boot_id == node.boot_id]
        begin = of_boot[-1].at.boot_seconds - seconds if seconds is not None else 0.0
        wanted = [row for row in of_boot if row.at.boot_seconds >= begin]
        chosen = self._within_bounds(wanted, choose(wanted, at_most))
        runs = [self._source.headers[position] for position in sorted({row.header for row in chosen})]
        return Recording(
            node=node,
            snapshots=tuple(self._read(chosen)),
            costs=_costs(runs),
            wall_seconds=sum(run.wall_seconds for run in runs),
            cpu_seconds=sum(run.cpu_seconds for run in runs),
            peak_rss_bytes=max(run.peak_rss_bytes for run in runs),
            notes=tuple(_notes(len(rows), len(of_boot), len(wanted), len(chosen))),
        )

    def _within_bounds(self, wanted: Sequence[Row], chosen: list[Row]) -> list[Row]:
        """Fewer of them where all together would take too much memory."""
        size = sum(self._source.size_bytes(row) for row in chosen)
        return chosen if size <= BYTES_MAX else choose(wanted, max(3, len(chosen) * BYTES_MAX // size))

    def _read(self, chosen: Sequence[Row]) -> Iterator[Snapshot]:
        before: Row | None = None
        for row in chosen:
            snapshot = self._source.read(row)
            yield snapshot if before is None or follows(before, row) else unfollowed(snapshot)
            before = row

    def _node(self, row: Row) -> Node:
        return self._source.headers[row.header].node

    def _between(self, start: datetime | None, end: datetime | None) -> list[Row]:
        return [
            row
            for row in self._source.rows
            if (start is None or row.at.wall >= start) and (end is None or row.at.wall <= end)
        ]


def _notes(between: int, of_boot: int, wanted: int, chosen: int) -> Iterator[str]:
    """Numbers of snapshots: between the times, of those of the newest boot, of those not too old, and judged."""
    if wanted == of_boot < between:
        yield (
            f"the machine was rebooted within the recording: only what follows the last boot was judged "
            f"({of_boot:,} of {between:,} snapshots); --to reaches the boots before it"
        )
    if chosen < wanted:
        yield (
            f"{chosen:,} of {wanted:,} snapshots were judged, spread over the time, those with the most TCP memory and "
            "tracked connections and the longest stalls among them; --from and --to look closer at a part"
        )


def _costs(runs: Sequence[Header]) -> dict[str, CollectorCost]:
    """Durations and losses of all runs together; shares as in the newest."""
    total: dict[str, CollectorCost] = {}
    for run in runs:
        for name, cost in run.costs.items():
            before = total.get(name, CollectorCost())
            total[name] = CollectorCost(
                wall_seconds=before.wall_seconds + cost.wall_seconds,
                cpu_seconds=before.cpu_seconds + cost.cpu_seconds,
                lost=before.lost + cost.lost,
                attributed_share=cost.attributed_share,
                truncated=before.truncated or cost.truncated,
            )
    return total


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
