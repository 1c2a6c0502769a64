"""Runs bpf/files.bpf.c: who asked for a TCP socket and was refused it, as the machine had no file left (fs.file-max).

The layouts are those of bpf/files.h, from which the binding is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.objects import BpfObject, closed_on_error
from whodunnet.kernel.support import Support
from whodunnet.model.descriptors import RefusedFiles
from whodunnet.model.text import clean

PROGRAM = "end_unused"
ROOM = 256
"""Processes that the program has room for."""


class Refusals(NamedTuple):
    """What was counted since the program was attached; left_out: of processes that are not listed."""

    processes: tuple[RefusedFiles, ...]
    left_out: int


class RefusalWatch:
    """The attached program."""

    def __init__(self, support: Support) -> None:
        """Raises UnreadableError where the program does not load or attach, or would see nothing."""
        self._bpf = BpfObject("files", support)
        with closed_on_error(self._bpf):
            self._watch = self._bpf.data(".data.watch", "struct refusal_watch")
            self._watch.pid_level_above = support.pid_namespace_depth
            self._bpf.run("find_place")
            if not self._watch.sees_calls:
                raise UnreadableError("which system call a process is in cannot be seen here", code="unsupported")
            self._bpf.attach(PROGRAM)

    def close(self) -> None:
        """Detaches and unloads the program."""
        self._bpf.close()

    def read(self) -> Refusals:
        """Everything since the start."""
        count, keys, values = self._bpf.entries("refused", "struct refused_key", "struct refused_process")
        found = sorted((decode(self._bpf.ffi, keys[i], values[i]) for i in range(count)), key=_most_first)
        return Refusals(tuple(found), int(self._watch.left_out))


def decode(ffi: Any, key: Any, value: Any) -> RefusedFiles:
    """One entry of the map."""
    return RefusedFiles(
        pid=key.pid,
        comm=clean(ffi.string(value.comm).decode(errors="replace")),
        started_seconds=key.started_ns / 1e9,
        times=value.times,
    )


def _most_first(process: RefusedFiles) -> tuple[int, int]:
    return -process.times, process.pid
