"""The retransmissions collector: segments of TCP that were sent again, by where they went, by BPF.

Needs CAP_BPF with CAP_PERFMON. Nothing is seen of what happened before it was started.
"""

from __future__ import annotations

import time
from typing import ClassVar

from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.repeats import RepeatWatch
from whodunnet.kernel.support import Support
from whodunnet.model.retransmissions import Destination, Retransmissions

DESTINATIONS_LIMIT = 512
"""Destinations in a sample, those with most repeats; of the others only the sum."""


class RetransmissionsCollector:
    """Keeps its BPF programs attached between snapshots."""

    name: ClassVar[str] = "retransmissions"

    def __init__(self, support: Support, *, bpf: bool = True) -> None:
        """bpf: False never loads a BPF program."""
        self._support = support
        self._watch: RepeatWatch | None = None
        self._started_seconds = 0.0
        self._refused = None if bpf else UnreadableError("BPF was switched off with --no-bpf", code="not-collected")

    def start(self) -> None:
        """Attach now, not with the first snapshot; where BPF is refused, remember why."""
        if self._watch is None and self._refused is None:
            try:
                self._watch = RepeatWatch(self._support)
                self._started_seconds = round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
            except UnreadableError as error:
                self._refused = error

    def collect(self) -> Retransmissions:
        """Everything since the start. Raises UnreadableError where BPF was refused."""
        self.start()
        if self._watch is None:
            assert self._refused is not None
            raise self._refused
        found = self._watch.read()
        kept, left_out = most_repeated(found.destinations)
        return Retransmissions(
            destinations=kept,
            watched_seconds=round(time.monotonic() - self._watch.attached_at, 6),
            started_seconds=self._started_seconds,
            elsewhere=found.elsewhere,
            inside=found.inside,
            other=found.other + left_out,
            untracked=found.untracked,
            forgotten=found.forgotten,
            missed=found.missed,
        )

    def close(self) -> None:
        """Detaches and unloads the BPF programs."""
        if self._watch is not None:
            self._watch.close()


def most_repeated(found: list[Destination], at_most: int = DESTINATIONS_LIMIT) -> tuple[tuple[Destination, ...], int]:
    """So many in an order that stays, and how many segments were repeated to the others."""
    ranked = sorted(found, key=lambda d: (-d.repeated - d.closed, d.key))
    kept = sorted(ranked[:at_most], key=lambda d: d.key)
    return tuple(kept), sum(d.repeated for d in ranked[at_most:])
