"""Which processes a procfs shows: those of the pid namespace it was mounted in (pid_namespaces(7), fs/proc/root.c)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.kernel_threads import is_kernel_thread

MOUNTINFO_LIMIT_BYTES = 32 << 20
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO (linux/proc_ns.h)
_ROOT_INODE = 1  # PROC_ROOT_INO (linux/proc_ns.h)
_DEVICE_DIGITS = 7  # 20 bits of a minor number, 12 of a major one (linux/kdev_t.h)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """above: pid namespaces from the one it shows down to ours, 0 if they are the same.

    whole_machine: whether it shows every process of the machine.
    """

    above: int
    whole_machine: bool


def read_scope(proc: Path, mountinfo: bytes) -> Scope | None:
    """What the procfs at `proc` shows. mountinfo: of ourselves, whose word it takes that this is a procfs at all.

    None for anything else, and for a procfs of a namespace that is neither ours nor one that ours is in: such a procfs
    has no "self".
    """
    if not is_procfs(proc, mountinfo):
        return None
    try:
        path = proc / "self/status"
        above = parse_depth(read_bytes(path), str(path))
    except UnreadableError:
        return None
    return Scope(above=above, whole_machine=shows_whole_machine(proc))


def is_procfs(path: Path, mountinfo: bytes) -> bool:
    """Whether a path is the root directory of a procfs: a planted directory is on another device."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_ino == _ROOT_INODE and found.st_dev in parse_procfs_devices(mountinfo)


def parse_procfs_devices(mountinfo: bytes) -> frozenset[int]:
    """Device numbers of every procfs that is mounted; lines of other form say nothing (proc_pid_mountinfo(5))."""
    devices = set[int]()
    for line in mountinfo.split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if after.split(b" ")[0] != b"proc" or len(fields) < 5:
            continue
        major, _, minor = fields[2].partition(b":")
        if major.isdigit() and minor.isdigit() and max(len(major), len(minor)) <= _DEVICE_DIGITS:
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def parse_depth(status: bytes, source: str) -> int:
    """Pid namespaces between the one of that procfs and ours, by NSpid. Raises MalformedError."""
    for line in status.split(b"\n"):
        if line.startswith(b"NSpid:"):
            return max(0, len(line.split()) - 2)
    raise MalformedError(f"{source}: NSpid is missing")


def shows_whole_machine(proc: Path) -> bool:
    """False in a container's pid namespace, and where hidepid= keeps process 1 from us."""
    try:
        (proc / "1").stat()
    except OSError:
        return False
    return _is_of_our_namespace_and_initial(proc) or _second_is_kernel_thread(proc)


def _is_of_our_namespace_and_initial(proc: Path) -> bool:
    """The link tells our namespace, whose processes any procfs that has us must show."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _second_is_kernel_thread(proc: Path) -> bool:
    """Kernel threads are in the initial pid namespace only, and nobody can pretend to be one (copy_process)."""
    try:
        return is_kernel_thread(read_bytes(proc / "2/stat"))
    except UnreadableError:
        return False
