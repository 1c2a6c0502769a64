"""Which snapshots of a long recording are judged: as many as a live window has, and none that matters left out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import msgspec

from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.recording.source import Row

STALLED_PART: Final = 4
"""One of so many places is for a snapshot with stalls, and one for that before it."""


def choose(rows: Sequence[Row], at_most: int) -> list[Row]:
    """Of the rows of one boot the first, the last, and others evenly over the time between, each with its predecessor.

    What has not moved is known from one snapshot to the next only, so they are chosen in pairs. The one with the most
    TCP memory and the one with the most tracked connections are always among them, and those with the longest stalls.
    """
    if len(rows) <= at_most:
        return list(rows)
    if at_most < 3:
        return list(rows[-max(at_most, 1) :])
    kept = {
        max(range(len(rows)), key=lambda place: rows[place].used_pages or 0),
        max(range(len(rows)), key=lambda place: rows[place].tracked or 0),
    }
    kept |= _pairs(_longest_stalls(rows, (at_most - 3) // STALLED_PART))
    places = _pairs(_evenly(rows, max(2, (at_most + 1 - len(kept)) // 2)))
    others = sorted(places - kept)[-(at_most - len(kept)) :]
    return [rows[place] for place in sorted(kept.union(others))]


def _pairs(places: set[int]) -> set[int]:
    return places | {max(0, place - 1) for place in places}


def _longest_stalls(rows: Sequence[Row], at_most: int) -> set[int]:
    """Places of the rows in which packets waited longest, of those in which they did."""
    stalled = [place for place, row in enumerate(rows) if row.waited_us]
    return set(sorted(stalled, key=lambda place: -(rows[place].waited_us or 0))[:at_most])


def _evenly(rows: Sequence[Row], count: int) -> set[int]:
    """Places of the rows nearest to evenly many moments, both ends among them."""
    times = [row.at.boot_seconds for row in rows]
    step = (times[-1] - times[0]) / (count - 1)
    return {_nearest(times, times[0] + n * step) for n in range(1, count - 1)} | {0, len(rows) - 1}


def _nearest(times: Sequence[float], moment: float) -> int:
    after = min(bisect_left(times, moment), len(times) - 1)
    before = max(0, after - 1)
    return before if moment - times[before] < times[after] - moment else after


def follows(before: Row, after: Row) -> bool:
    """Whether a recorder took one right after the other, with nothing taken out between them."""
    return before.header == after.header and before.number + 1 == after.number


def unfollowed(snapshot: Snapshot) -> Snapshot:
    """The same snapshot, of which nobody may say what is unchanged in it since the one before."""
    samples = {
        name: msgspec.structs.replace(sample, follows=False) if isinstance(sample, Sockets) else sample
        for name, sample in snapshot.samples.items()
    }
    return msgspec.structs.replace(snapshot, samples=samples)
