"""What every collector is, and the frame that times it and turns its errors into failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Protocol

from whodunnet.errors import UnreadableError
from whodunnet.model.sample import CollectorCost, Failure
from whodunnet.model.snapshot import AnySample


class Collector(Protocol):
    """Reads one subject. `collect` returns its sample or raises UnreadableError; it starts no process.

    Collectors may keep state between calls (open files, loaded programs); `close` gives it back.
    """

    name: ClassVar[str]

    def collect(self) -> AnySample: ...

    def close(self) -> None: ...


def run(read: Callable[[], AnySample]) -> tuple[AnySample, CollectorCost]:
    """One reading with its duration and CPU time; an unreadable source is a Failure, never an exception."""
    wall, cpu = time.perf_counter(), time.process_time()
    sample: AnySample
    try:
        sample = read()
    except UnreadableError as error:
        sample = failure_of(error)
    return sample, CollectorCost(wall_seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)


def failure_of(error: UnreadableError) -> Failure:
    """The same as a sample."""
    return Failure(code=error.code, reason=str(error), missing_capability=error.missing_capability)
