"""A node that had no file left (fs.file-max): when, and what that makes of who cannot accept meanwhile.

Whoever has CAP_SYS_ADMIN on the node, and not only in a user namespace of its own, is not held to that limit
(alloc_empty_file, fs/file_table.c). Root of most containers has not; who has it is in no sample.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from whodunnet.model.descriptors import Descriptors
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording

LOGGED: Final = "file-max"
"""Our name of the kernel's line "VFS: file-max limit N reached"."""
EFFECT: Final = "may not be able to accept: the node had no file left (fs.file-max)"
TEXT: Final = (
    "The node had no file left meanwhile (fs.file-max): while that lasts nobody without CAP_SYS_ADMIN can accept, and "
    "nothing is wrong with who cannot. Whether this program has it was not looked at (CapEff in /proc/PID/status): "
    "root of the node mostly has, root of a container mostly not. If it has, the limit is not why it does not accept."
)


LATELY_SECONDS: Final = 60.0
"""Before the end of the window. Who cannot accept so long after files were there again has another reason: readings and
lines miss most of a limit that is reached time and again, and a program that was denied tries again within a second."""


class Spent(NamedTuple):
    """readings: of fs.file-nr at its limit, oldest first. logged: when the kernel logged it, in seconds since boot.

    One of the two is not empty. The kernel logs it only when more files are open than ever before. end_seconds: of the
    window, since boot.
    """

    readings: tuple[tuple[Moment, Descriptors], ...]
    logged: tuple[float, ...]
    end_seconds: float

    @property
    def last_seconds(self) -> float:
        """When it was so for the last time that is known, in seconds since boot."""
        return max((*self.logged, *(at.boot_seconds for at, _ in self.readings)), default=0.0)

    @property
    def lately(self) -> bool:
        """Whether whoever cannot accept at the end of the window may owe it to that."""
        return self.end_seconds - self.last_seconds <= LATELY_SECONDS


def when_spent(recording: Recording) -> Spent | None:
    """By any reading of the window, or a line of the kernel's log within it; None if neither says so."""
    readings = tuple((at, sample) for at, sample in recording.series(Descriptors) if sample.spent)
    logged = _logged(recording)
    end_seconds = recording.snapshots[-1].at.boot_seconds
    return Spent(readings, logged, end_seconds) if readings or logged else None


def files_spent(recording: Recording) -> bool:
    """Whether lately."""
    spent = when_spent(recording)
    return spent is not None and spent.lately


def _logged(recording: Recording) -> tuple[float, ...]:
    log, begin = recording.last(KernelLog), recording.snapshots[0].at.boot_seconds
    times = [line.boot_seconds for line in log.lines if line.kind == LOGGED] if log is not None else []
    return tuple(seconds for seconds in times if seconds is not None and seconds >= begin)
