"""The kernel's threads that take up received packets in place of softirqs (Documentation/networking/napi.rst)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_head, unreadable
from whodunnet.kernel.procfs.kernel_threads import is_kernel_thread
from whodunnet.kernel.roots import Roots

THREADS_MAX = 1024
_KTHREADD = 2  # the parent of all kernel threads (init/main.c)
_NAMES = (b"napi/", b"backlog_napi/")  # napi_kthread_create(), backlog_napi_setup() (net/core/dev.c)
_CHILDREN_BYTES = 1 << 20
_STAT_BYTES = 4096
_PID_DIGITS = 10


def read_napi_threads(roots: Roots) -> tuple[int, ...]:
    """Their numbers, at most THREADS_MAX; none where procfs does not show kernel threads. Raises UnreadableError."""
    named = (pid for pid in _candidates(roots) if _read(roots, pid, "comm").startswith(_NAMES))
    found = [pid for pid in named if is_kernel_thread(_read(roots, pid, "stat"))]
    return tuple(sorted(found)[:THREADS_MAX])


def _candidates(roots: Roots) -> Iterable[int]:
    """Children of kthreadd; without CONFIG_PROC_CHILDREN every process."""
    try:
        listed = read_head(roots.proc / f"{_KTHREADD}/task/{_KTHREADD}/children", _CHILDREN_BYTES)
    except UnreadableError:
        listed = b" ".join(_entries(roots))
    return [int(word) for word in listed.split() if word.isdigit() and len(word) <= _PID_DIGITS]


def _entries(roots: Roots) -> list[bytes]:
    try:
        return [os.fsencode(entry.name) for entry in roots.proc.iterdir()]
    except OSError as error:
        raise unreadable(str(roots.proc), error) from error


def _read(roots: Roots, pid: int, name: str) -> bytes:
    try:
        return read_head(roots.proc / f"{pid}/{name}", _STAT_BYTES)
    except UnreadableError:  # it is gone
        return b""
