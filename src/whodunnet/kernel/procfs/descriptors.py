"""Which process has which socket open: /proc/<pid>/fd/<n> -> "socket:[inode]" (proc(5), fs/proc/fd.c, net/socket.c)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from whodunnet.kernel.procfs.scope import shows_whole_machine

DESCRIPTORS_MAX = 2_000_000
"""Descriptors looked at in one pass; at about 1.5 µs each."""

_PREFIX = "socket:["


class SocketHolders(msgspec.Struct, kw_only=True):
    """The open sockets of every process that could be read.

    pids: socket inode -> smallest pid that has it open; pids are those of the given procfs.
    shared: inodes found in more than one descriptor, of one process or of several.
    unreadable: processes that refused (not ours, and no CAP_SYS_PTRACE). vanished: those that ended meanwhile.
    truncated: DESCRIPTORS_MAX was reached. whole_machine: the procfs shows the processes of every container.

    Only the table of a process's leader is read: a thread with a table of its own (no CLONE_FILES) is missed.
    """

    pids: dict[int, int] = msgspec.field(default_factory=dict)
    shared: set[int] = msgspec.field(default_factory=set)
    descriptors: int = 0
    unreadable: int = 0
    vanished: int = 0
    truncated: bool = False
    whole_machine: bool = False

    @property
    def complete(self) -> bool:
        """Whether a socket that is missing here was in no descriptor table when it was looked for."""
        return self.whole_machine and not self.truncated and not self.unreadable

    def add(self, inode: int, pid: int) -> None:
        """Note one descriptor of `pid`."""
        known = self.pids.get(inode)
        if known is not None:
            self.shared.add(inode)
        if known is None or pid < known:
            self.pids[inode] = pid


def read_socket_holders(proc: Path, limit: int = DESCRIPTORS_MAX) -> SocketHolders:
    """One pass over every descriptor below `proc`, at most `limit` of them; never raises for a single process.

    Sockets that are opened, closed or moved between processes during the pass may be missed.
    """
    holders = SocketHolders(whole_machine=shows_whole_machine(proc))
    for pid in _pids(proc):
        try:
            _add_process(holders, proc, pid, limit)
        except (FileNotFoundError, ProcessLookupError):
            holders.vanished += 1
        except OSError:
            holders.unreadable += 1
        if holders.truncated:
            break
    return holders


def parse_socket_link(target: str) -> int | None:
    """The inode of "socket:[N]", None for every other kind of file (or a file that only has such a name)."""
    number = target[len(_PREFIX) : -1]
    if not target.startswith(_PREFIX) or target[-1] != "]" or not (number.isascii() and number.isdigit()):
        return None
    return int(number)


def _pids(proc: Path) -> Iterator[int]:
    with suppress(OSError), os.scandir(proc) as entries:
        yield from (int(entry.name) for entry in entries if entry.name.isascii() and entry.name.isdigit())


def _add_process(holders: SocketHolders, proc: Path, pid: int, limit: int) -> None:
    # Relative to an open directory each readlink resolves one name instead of four.
    directory = os.open(f"{proc}/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(directory):  # noqa: PTH208 - pathlib cannot list an open directory
            if holders.descriptors >= limit:
                holders.truncated = True
                return
            holders.descriptors += 1
            with suppress(FileNotFoundError):
                inode = parse_socket_link(os.readlink(name, dir_fd=directory))
                if inode is not None:
                    holders.add(inode, pid)
    finally:
        os.close(directory)
