"""/proc/<pid>/: what one process is, and which cgroups and which network namespace it is in (fs/proc/; proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.procfs.pids import list_pids
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean
from whodunnet.model.workload import Process

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_LATEST: Final = 10**12  # in seconds or ticks: beyond any machine's life, and within what datetime can hold
_DELETED: Final = " (deleted)"  # written by d_path() and cgroup_path_ns() for what no longer has a name

_STATES: Final = {  # task_state_array, fs/proc/array.c
    b"R": "running",
    b"S": "sleeping",
    b"D": "uninterruptible",
    b"T": "stopped",
    b"t": "stopped",
    b"Z": "zombie",
    b"X": "gone",
    b"I": "sleeping",
    b"P": "sleeping",
}


class ProcessStat(msgspec.Struct, frozen=True, kw_only=True):
    """The first fields of stat. comm: cleaned. state: a word of model.workload.Process. started_ticks: since boot."""

    pid: int
    comm: str
    state: str | None
    parent: int
    started_ticks: int

    @property
    def started_seconds(self) -> float:
        """Start in seconds since boot, at most one tick earlier than task_struct.start_boottime."""
        return self.started_ticks / TICKS_PER_SECOND


class CgroupLine(msgspec.Struct, frozen=True):
    """One hierarchy's line of /proc/<pid>/cgroup: no controllers in v2, ("name=systemd",) in systemd's of v1.

    path: as the kernel wrote it (hostile; undecodable bytes as surrogates), "/.." upwards out of our cgroup namespace.
    """

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


def parse_stat(data: bytes, source: str) -> ProcessStat:
    """Parse /proc/<pid>/stat, whose comm may hold any bytes, ") R 1" among them. Raises MalformedError."""
    pid, parenthesis, rest = data.partition(b" (")
    comm, closing, after = rest.rpartition(b") ")
    fields = after.split()
    if not parenthesis or not closing or len(fields) < 20:
        raise MalformedError(f"{source}: should be a pid, a name in parentheses and numbers, and is {shown(data)}")
    return ProcessStat(
        pid=integer(pid, source, "pid"),
        comm=clean(comm.decode(errors="replace")),
        state=_STATES.get(fields[0]),
        parent=integer(fields[1], source, "ppid"),
        started_ticks=_moment(fields[19], source, "starttime"),
    )


def parse_cgroup(data: bytes, source: str) -> tuple[CgroupLine, ...]:
    """Parse /proc/<pid>/cgroup (cgroups(7)): v1, v2 and both at once. Raises MalformedError."""
    # A path may hold any byte but a newline (cgroup_mkdir, kernel/cgroup/cgroup.c), a carriage return for one.
    return tuple(_cgroup_line(line, source) for line in os.fsdecode(data).split("\n") if line)


def parse_descriptor_limit(data: bytes, source: str) -> int | None:
    """The soft limit of "Max open files" in /proc/<pid>/limits, None for "unlimited". Raises MalformedError."""
    for line in data.splitlines():
        if line.startswith(b"Max open files"):
            words = line[len(b"Max open files") :].split()
            if words[:1] == [b"unlimited"]:
                return None
            return integer(words[0] if words else b"", source, "Max open files")
    raise MalformedError(f"{source}: Max open files is missing")


def parse_effective_uid(data: bytes, source: str) -> int:
    """The effective user id in /proc/<pid>/status. Raises MalformedError."""
    for line in data.splitlines():
        if line.startswith(b"Uid:"):
            words = line.split()
            return integer(words[2] if len(words) > 2 else b"", source, "Uid")
    raise MalformedError(f"{source}: Uid is missing")


def parse_boot_time(data: bytes, source: str) -> datetime:
    """When the machine started, to the second: btime of /proc/stat. Raises MalformedError."""
    for line in data.splitlines():
        if line.startswith(b"btime "):
            return datetime.fromtimestamp(_moment(line[len(b"btime ") :], source, "btime", _LATEST // 10), UTC)
    raise MalformedError(f"{source}: btime is missing")


def read_stat(roots: Roots, pid: int) -> ProcessStat:
    """Read stat. Raises UnreadableError, code "vanished" if there is no such process."""
    return parse_stat(*_read(roots, pid, "stat"))


def read_cgroup(roots: Roots, pid: int) -> tuple[CgroupLine, ...]:
    """Read cgroup. Raises UnreadableError, code "vanished" if there is no such process."""
    return parse_cgroup(*_read(roots, pid, "cgroup"))


def read_effective_uid(roots: Roots, pid: int) -> int:
    """Read the effective user id. Raises UnreadableError, code "vanished" if there is no such process."""
    return parse_effective_uid(*_read(roots, pid, "status"))


def read_boot_time(roots: Roots) -> datetime:
    """Read btime, which steps with the clock. Raises UnreadableError."""
    path = roots.proc / "stat"
    return parse_boot_time(read_bytes(path), str(path))


def read_process(roots: Roots, pid: int, stat: ProcessStat | None = None, boot_time: datetime | None = None) -> Process:
    """A process by its pid in roots.proc; stat and boot_time are read unless they are given.

    Raises UnreadableError, code "vanished" if there is no such process.
    """
    stat = stat or read_stat(roots, pid)
    boot_time = boot_time or read_boot_time(roots)
    return Process(
        pid=pid,
        comm=stat.comm,
        exe=read_executable(roots, pid),
        started=boot_time + timedelta(seconds=stat.started_seconds),
        state=stat.state,
        descriptor_limit=parse_descriptor_limit(*_read(roots, pid, "limits")),
    )


def read_executable(roots: Roots, pid: int) -> str | None:
    """The program's path; None for a kernel thread, a zombie, and without CAP_SYS_PTRACE for another user's process."""
    try:
        target = os.readlink(f"{roots.proc}/{pid}/exe")  # noqa: PTH115 - a third of the time of Path.readlink
    except OSError:
        return None
    return clean(target.removesuffix(_DELETED), 4096)


def read_netns(roots: Roots, pid: int) -> int | None:
    """Inode number of the network namespace; None where the kernel does not tell (as for read_executable)."""
    try:
        return os.stat(f"{roots.proc}/{pid}/ns/net").st_ino  # noqa: PTH116 - half the time of Path.stat
    except OSError:
        return None


def find_processes_in(roots: Roots, namespaces: Iterable[int]) -> dict[int, list[int]]:
    """The pids in each of some network namespaces, by one pass over /proc. Raises UnreadableError."""
    found: dict[int, list[int]] = {inode: [] for inode in namespaces}
    for pid in list_pids(roots.proc):
        inode = read_netns(roots, pid)
        if inode in found:
            found[inode].append(pid)
    return found


def _read(roots: Roots, pid: int, name: str) -> tuple[bytes, str]:
    """One file of a process and its path."""
    path = Path(f"{roots.proc}/{pid}/{name}")  # half the time of two joins, and there are five files a process
    try:
        return read_bytes(path), str(path)
    except UnreadableError as error:
        if error.code == "missing-file":
            raise UnreadableError(f"process {pid} is gone", code="vanished") from error
        raise


def _cgroup_line(line: str, source: str) -> CgroupLine:
    hierarchy, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if not path.startswith("/") or not (hierarchy.isascii() and hierarchy.isdigit() and len(hierarchy) < 11):
        raise MalformedError(f"{source}: a line should be number:controllers:path, and is {shown(os.fsencode(line))}")
    names = tuple(controllers.split(",")) if controllers else ()
    return CgroupLine(int(hierarchy), names, path.removesuffix(_DELETED))


def _moment(token: bytes, source: str, item: str, latest: int = _LATEST) -> int:
    number = integer(token, source, item)
    if not 0 <= number <= latest:
        raise MalformedError(f"{source}: {item} should be a time, and is {number}")
    return number
