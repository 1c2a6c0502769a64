"""The sample of the descriptors collector: processes near their limit of open files, and the machine near its own."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Seconds


class DescriptorUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process: its open descriptors, and the soft limit of their number (RLIMIT_NOFILE).

    started_seconds: since boot. sockets, files, other: what those of a part of its descriptors are that were looked at,
    only where it is near its limit; other: pipes, timers, epoll, memory and the like.
    """

    pid: Count
    comm: str
    started_seconds: Seconds
    open: Count
    limit: Count
    sockets: Count = 0
    files: Count = 0
    other: Count = 0

    @property
    def share(self) -> float:
        """Of its limit."""
        return self.open / max(self.limit, 1)

    @property
    def left(self) -> int:
        """How many more it may open."""
        return max(self.limit - self.open, 0)

    @property
    def looked_at(self) -> int:
        """Descriptors of which the kind is known."""
        return self.sockets + self.files + self.other


class RefusedFiles(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process that asked for TCP sockets while the machine had no file for them (fs.file-max), and got none.

    started_seconds: since boot. times: since it has been watched who is refused (Descriptors.refused).
    """

    pid: Count
    comm: str
    started_seconds: Seconds
    times: Count


class Descriptors(msgspec.Struct, frozen=True, tag="descriptors", kw_only=True, omit_defaults=True):
    """Open descriptors of every process in sight, and open files of the whole machine.

    fullest: processes nearest to their limits, the nearest first, and the one with most; of those with fewer than
        collectors.descriptors.MANY the limit is not read, and they are not here. near_left_out: near their limit
        and not here, for lack of room.
    processes: how many were counted. denied: how many we may not look at. left_out: beyond the collector's bound.
    open_files, max_files: fs.file-nr of the whole kernel; None if it could not be read.
    refusals_watched: whether it was watched up to this reading who is refused a file: only near the limit, by BPF.
    refused: all of them since that began. refused_left_out: refusals of others, who found no room or are in a pid
        namespace out of sight.
    """

    fullest: tuple[DescriptorUse, ...] = ()
    near_left_out: Count = 0
    processes: Count = 0
    denied: Count = 0
    left_out: Count = 0
    open_files: Count | None = None
    max_files: Count | None = None
    refusals_watched: bool = False
    refused: tuple[RefusedFiles, ...] = ()
    refused_left_out: Count = 0

    @property
    def spent(self) -> bool:
        """Whether the machine has no file left for who has no CAP_SYS_ADMIN (alloc_empty_file, fs/file_table.c)."""
        return bool(self.max_files) and (self.open_files or 0) >= (self.max_files or 0)
