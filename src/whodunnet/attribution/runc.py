"""Containers that somebody runs with plain runc: their ids are free names, their cgroups of any shape.

runc keeps <root>/<id>/state.json (libcontainer: State), by default in /run/runc, which is root's. A process is in the
container whose cgroups it is in, in every hierarchy that both name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from whodunnet.attribution.notes import decode
from whodunnet.attribution.processes import Processes
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.model.text import clean
from whodunnet.model.workload import Container

MAX_CONTAINERS: Final = 512
STATE_LIMIT_BYTES: Final = 1 << 20
_MAX_ENTRIES: Final = 4096
_OTHER_RUNTIMES_ID: Final = re.compile(r"[0-9a-f]{64}")  # podman uses this directory too, and says more itself


class _State(msgspec.Struct, frozen=True):
    id: str
    init_process_pid: int
    init_process_start: int
    cgroup_paths: dict[str, str]


class Running(msgspec.Struct, frozen=True):
    """A container that a state.json tells of. cgroups: path by controller, "" for v2. start_ticks: since boot."""

    id: str
    pid: int
    start_ticks: int
    cgroups: dict[str, str]

    def holds(self, paths: dict[str, str]) -> bool:
        """Whether these cgroups are its own, or below, in every hierarchy that both name."""
        both = self.cgroups.keys() & paths.keys()
        return bool(both) and all(f"{paths[name]}/".startswith(f"{self.cgroups[name]}/") for name in both)


class Runc:
    """The containers of one machine: make a new one for every snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def find(self, lines: Iterable[CgroupLine]) -> Container | None:
        """The container in whose cgroups a process is, None if there is none."""
        paths = {name: line.path for line in lines for name in line.controllers or ("",)}
        for controller, path in paths.items():
            for above in (path, *map(str, PurePosixPath(path).parents)):
                running = self._by_cgroup.get((controller, above))
                if running is not None and running.holds(paths):
                    return self._container(running, above)
        return None

    def _container(self, running: Running, path: str) -> Container:
        started = self._processes.started(running.pid)
        return Container(id=running.id, name=running.id, runtime="runc", cgroup=clean(path, 4096), started=started)

    @cached_property
    def _by_cgroup(self) -> dict[tuple[str, str], Running]:
        running = [found for path in self._states() if (found := self._read(path)) is not None]
        return {item: found for found in running for item in found.cgroups.items()}

    def _states(self) -> list[Path]:
        directory = self._processes.roots.run / "runc"
        with suppress(OSError), os.scandir(directory) as entries:
            names = [e.name for e in islice(entries, _MAX_ENTRIES) if not _OTHER_RUNTIMES_ID.fullmatch(e.name)]
            return [directory / name / "state.json" for name in sorted(names)[:MAX_CONTAINERS]]
        return []

    def _read(self, path: Path) -> Running | None:
        """None for a container that has ended: its cgroups may be somebody else's by now."""
        with suppress(UnreadableError):
            running = parse_state(read_bytes(path, STATE_LIMIT_BYTES), str(path))
            stat = self._processes.stat(running.pid)
            return running if stat is not None and stat.started_ticks == running.start_ticks else None
        return None


def parse_state(data: bytes, source: str) -> Running:
    """A container's state.json. Raises MalformedError."""
    state = decode(data, _State, source, "a container's state of runc")
    named = {name: _in_hierarchy(name, path) for name, path in state.cgroup_paths.items()}
    cgroups = {name: path for name, path in named.items() if path is not None}
    return Running(clean(state.id), state.init_process_pid, state.init_process_start, cgroups)


def _in_hierarchy(controller: str, directory: str) -> str | None:
    """The cgroup of a directory below the usual mounts; None for a hierarchy's root, which holds everybody."""
    parts = PurePosixPath(directory).parts
    if parts[:4] != ("/", "sys", "fs", "cgroup") or ".." in parts:
        return None
    # v1 has a directory for each hierarchy, and v2 one beside them, or the place for itself.
    inside = parts[5:] if controller or parts[4:5] == ("unified",) else parts[4:]
    return "/" + "/".join(inside) if inside else None
