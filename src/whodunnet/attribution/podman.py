"""Names of podman's containers, from containers/storage: <driver>-containers/containers.json, and conmon's arguments.

A pod of podman is no pod of a Kubernetes cluster, whatever is annotated (`podman kube play` does, and so can an image):
nobody could delete it with kubectl. It is left out.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.attribution.conmon import DRIVERS, Conmon, find_conmon
from whodunnet.attribution.notes import Notes, decode, name_or_none, parse_pid
from whodunnet.attribution.places import read_users_file
from whodunnet.attribution.processes import ROOT, Processes
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes

LIST_LIMIT_BYTES: Final = 16 << 20
_USERS_LIMIT_BYTES: Final = 1 << 20
_LISTS: Final = ("containers.json", "volatile-containers.json")
_STORAGE: Final = "containers/storage"


class _Metadata(msgspec.Struct, frozen=True):
    name: str | None = None
    image: str | None = msgspec.field(default=None, name="image-name")


class _Container(msgspec.Struct, frozen=True):
    id: str
    names: list[str] | None = None
    metadata: str | None = None


class Podman:
    """The containers of one machine: make a new one for every snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._roots = processes.roots
        self._lists: dict[tuple[Path, int], dict[str, Notes]] = {}

    def find(self, container: str, pid: int | None = None) -> Notes | None:
        """The notes of a container id of root's podman, None if there are none or they cannot be read.

        pid: a process of that container; its conmon leads to storage in unusual places.
        """
        for driver in DRIVERS:
            directory = self._roots.resolve(self._roots.var / "lib" / _STORAGE) / f"{driver}-containers"
            noted = self._listed(directory).get(container)
            if noted is not None:
                return self._with_start(noted, self._first_pid(container, driver))
        conmon = find_conmon(self._processes, container, pid) if pid is not None else None
        return self._of_conmon(conmon) if conmon is not None else None

    def find_rootless(self, container: str, uid: int, pid: int) -> Notes | None:
        """The same of a container of that user's own podman: whatever is noted there, the user wrote."""
        conmon = find_conmon(self._processes, container, pid, uid)
        return self._of_conmon(conmon, uid) if conmon is not None else None

    def _of_conmon(self, conmon: Conmon, uid: int = ROOT) -> Notes:
        listed = self._listed(conmon.directory, uid) if conmon.directory is not None else {}
        return self._with_start(listed.get(conmon.container) or Notes(name=name_or_none(conmon.name)), conmon.first_pid)

    def _listed(self, directory: Path, uid: int = ROOT) -> dict[str, Notes]:
        """All containers in a directory of that user."""
        key = (directory, uid)
        if key not in self._lists:
            self._lists[key] = found = dict[str, Notes]()
            for path in (directory / name for name in _LISTS):
                with suppress(UnreadableError):
                    found |= parse_list(self._read(path, uid), str(path))
        return self._lists[key]

    def _read(self, path: Path, uid: int) -> bytes:
        if uid == ROOT:
            return read_bytes(path, LIST_LIMIT_BYTES)
        return read_users_file(self._roots, path, uid, _USERS_LIMIT_BYTES)

    def _first_pid(self, container: str, driver: str) -> int | None:
        path = self._roots.run / _STORAGE / f"{driver}-containers" / container / "userdata/pidfile"
        with suppress(UnreadableError):
            return parse_pid(read_bytes(path, limit=32), str(path))
        return None

    def _with_start(self, notes: Notes, pid: int | None) -> Notes:
        started = self._processes.started(pid) if pid is not None else None
        return msgspec.structs.replace(notes, first_pid=pid, started=started)


def parse_list(data: bytes, source: str) -> dict[str, Notes]:
    """The containers in a containers.json (containers/storage: containers.go) by id. Raises MalformedError."""
    listed = decode(data, list[_Container], source, "a list of containers")
    return {container.id: _notes(container, source) for container in listed}


def _notes(container: _Container, source: str) -> Notes:
    metadata = _Metadata()
    with suppress(MalformedError):
        metadata = decode((container.metadata or "{}").encode(), _Metadata, source, "podman's metadata")
    named = next(iter(container.names or ()), None)
    return Notes(name=name_or_none(metadata.name or named), image=name_or_none(metadata.image))
