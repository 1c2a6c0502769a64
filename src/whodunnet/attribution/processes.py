"""What attribution asks of /proc: where a process descends from, and what started it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Final

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.process import (
    ProcessStat,
    read_boot_time,
    read_effective_uid,
    read_executable,
    read_stat,
)
from whodunnet.kernel.roots import Roots

ROOT: Final = 0
_MAX_ANCESTORS: Final = 64
_COMMAND_LIMIT_BYTES: Final = 1 << 17  # what one argument may be (MAX_ARG_STRLEN); conmon's all are about 3,000 bytes


class Processes:
    """Processes of one machine, remembered: make a new one for every snapshot."""

    def __init__(self, roots: Roots, boot_time: datetime | None = None) -> None:
        self.roots = roots
        self._boot_time = boot_time
        self._stats: dict[int, ProcessStat | None] = {}

    def stat(self, pid: int) -> ProcessStat | None:
        """What the kernel says of it, None if it is gone."""
        if pid not in self._stats:
            self._stats[pid] = None
            with suppress(UnreadableError):
                self._stats[pid] = read_stat(self.roots, pid) if pid > 0 else None
        return self._stats[pid]

    def started(self, pid: int) -> datetime | None:
        """When it started, None if it is gone."""
        stat = self.stat(pid)
        return self._boot() + timedelta(seconds=stat.started_seconds) if stat is not None else None

    def lineage(self, pid: int) -> Iterator[ProcessStat]:
        """The process itself, its parent, and so on outwards."""
        for _ in range(_MAX_ANCESTORS):
            stat = self.stat(pid)
            if stat is None:
                return
            yield stat
            pid = stat.parent

    def outermost(self, pid: int, fits: Callable[[ProcessStat], bool]) -> int | None:
        """The outermost ancestor that fits: what runs in a container may start programs of the same name."""
        return max(((n, stat.pid) for n, stat in enumerate(self.lineage(pid)) if fits(stat)), default=(0, None))[1]

    def child_towards(self, ancestor: int, pid: int) -> int | None:
        """The child of `ancestor` that `pid` is or descends from."""
        return next((stat.pid for stat in self.lineage(pid) if stat.parent == ancestor), None)

    def runs(self, pid: int, program: str, uid: int) -> bool:
        """Whether it is that user's and its program's name begins so: any user can give a process that name."""
        with suppress(UnreadableError):
            name = PurePath(read_executable(self.roots, pid) or "").name
            return name.startswith(program) and read_effective_uid(self.roots, pid) == uid
        return False

    def command(self, pid: int) -> list[str]:
        """Its arguments, hostile unless its user is root; none if they cannot be read."""
        with suppress(UnreadableError):
            path = Path(f"{self.roots.proc}/{pid}/cmdline")
            return [os.fsdecode(word) for word in read_bytes(path, _COMMAND_LIMIT_BYTES).split(b"\0")]
        return []

    def _boot(self) -> datetime:
        if self._boot_time is None:
            self._boot_time = read_boot_time(self.roots)
        return self._boot_time
