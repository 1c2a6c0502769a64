"""A program of a case, as a diagnosis would have to name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Who:
    """comm, and the processes any of which is right (master and workers). state: as Process.state, where it matters."""

    comm: str
    pids: frozenset[int]
    state: str | None = None

    def __str__(self) -> str:
        return f"{self.comm}[{'/'.join(map(str, sorted(self.pids)))}]"
