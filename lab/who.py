"""A program of a case, as a diagnosis would have to name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Who:
    """comm, and the processes any of which is right (master and workers). state: as Process.state, where it matters.

    address: of a program that can be known by nothing else, because it runs on another machine or has ended.
    pod: uid of the pod that has to be named with it; without pids the pod alone has to be, or with a process of comm.
    netns, device: of what is no program; comm is only what we call it.
    """

    comm: str
    pids: frozenset[int] = frozenset()
    state: str | None = None
    address: str | None = None
    pod: str | None = None
    netns: int | None = None
    device: str | None = None

    @property
    def is_place(self) -> bool:
        """A network namespace, or a device of one."""
        return self.netns is not None

    def __str__(self) -> str:
        if self.is_place:
            return " ".join(filter(None, (self.device, f"{self.comm} (netns {self.netns})")))
        if self.address is not None:
            return f"{self.comm} at {self.address}"
        if self.pod is not None and not self.pids:
            return f"the pod of {self.comm}"
        return f"{self.comm}[{'/'.join(map(str, sorted(self.pids)))}]"
