"""The kernel's threads that take up received packets in place of softirqs (Documentation/networking/napi.rst)."""

from __future__ import annotations

from collections.abc import Iterator

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_head
from whodunnet.kernel.roots import Roots

THREADS_MAX = 1024
_KTHREADD = 2  # the parent of all kernel threads (init/main.c)
_NAMES = (b"napi/", b"backlog_napi/")  # napi_kthread_create(), backlog_napi_setup() (net/core/dev.c)
_CHILDREN_BYTES = 1 << 20


def read_napi_threads(roots: Roots) -> tuple[int, ...]:
    """Their numbers, at most THREADS_MAX; none where procfs does not show kernel threads."""
    found = [pid for pid in _kernel_threads(roots) if _name(roots, pid).startswith(_NAMES)]
    return tuple(sorted(found)[:THREADS_MAX])


def _kernel_threads(roots: Roots) -> Iterator[int]:
    """Children of kthreadd; without CONFIG_PROC_CHILDREN every process."""
    try:
        listed = read_head(roots.proc / f"{_KTHREADD}/task/{_KTHREADD}/children", _CHILDREN_BYTES)
    except UnreadableError:
        yield from (int(entry.name) for entry in roots.proc.iterdir() if entry.name.isdigit())
        return
    yield from (int(word) for word in listed.split() if word.isdigit())


def _name(roots: Roots, pid: int) -> bytes:
    try:
        return read_head(roots.proc / f"{pid}/comm", 64)
    except UnreadableError:  # it is gone
        return b""
