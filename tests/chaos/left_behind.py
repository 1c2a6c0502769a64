"""What a program can leave behind on a machine, read from the kernel itself."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

BPF_SYSCALLS = {"x86_64": 321, "aarch64": 280}
NEXT_ID = {"program": 11, "map": 12, "types": 23, "link": 31}
"""enum bpf_cmd: BPF_PROG_GET_NEXT_ID and so on (include/uapi/linux/bpf.h)."""
KINDS = ("net", "mnt", "pid", "ipc", "uts", "user", "cgroup")
CGROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
PINNED = Path("/sys/fs/bpf")


class NextId(ctypes.Structure):
    """The part of union bpf_attr that these commands use."""

    _fields_ = (("start", ctypes.c_uint32), ("next", ctypes.c_uint32), ("flags", ctypes.c_uint32))


class NoSuchSystemCallError(Exception):
    """This machine's number of bpf(2) is not known here."""


def bpf_ids(kind: str) -> Iterator[int]:
    """Every BPF object of that kind that the kernel has. Raises OSError, NoSuchSystemCallError."""
    if platform.machine() not in BPF_SYSCALLS:
        raise NoSuchSystemCallError(platform.machine())
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    asked = NextId()
    while system_call(BPF_SYSCALLS[platform.machine()], NEXT_ID[kind], ctypes.byref(asked), ctypes.sizeof(asked)) == 0:
        yield asked.next
        asked.start = asked.next
    if ctypes.get_errno() != errno.ENOENT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def namespaces() -> Iterator[str]:
    """Of all kinds, of any process or mounted."""
    for process in Path("/proc").glob("[0-9]*"):
        for kind in KINDS:
            with suppress(OSError):
                yield str((process / "ns" / kind).readlink())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - nsfs " in line:
            yield line.split()[3]


def empty_cgroups() -> Iterator[str]:
    """Those without a process: whoever is in one is seen as a process."""
    for directory, _, files in os.walk(CGROUPS):
        with suppress(OSError):
            if "cgroup.procs" in files and not Path(directory, "cgroup.procs").read_text():
                yield directory


def entries(*directories: Path) -> Iterator[str]:
    for directory in directories:
        yield from (str(path) for path in directory.rglob("*"))


class Traces(NamedTuple):
    """What there is at one moment, each kind by what its things are called."""

    bpf: frozenset[str]
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    files: frozenset[str]

    def beyond(self, before: Traces) -> dict[str, list[str]]:
        """What is here and was not there, by kind."""
        pairs = zip(self._fields, self, before, strict=True)
        return {kind: sorted(now - then) for kind, now, then in pairs if now - then}


def traces(*directories: Path) -> Traces:
    """directories: where files are looked for, beside shared memory and what is pinned."""
    return Traces(
        bpf=frozenset(f"{kind} {number}" for kind in NEXT_ID for number in bpf_ids(kind)),
        namespaces=frozenset(namespaces()),
        cgroups=frozenset(empty_cgroups()),
        files=frozenset(entries(SHARED_MEMORY, PINNED, *directories)),
    )
