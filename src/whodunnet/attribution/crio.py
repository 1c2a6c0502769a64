"""Names of CRI-O's containers and pods, from <storage>/<driver>-containers/<id>/userdata/config.json.

CRI-O copies a pod's annotations into it, in most versions also over its own (io.kubernetes.cri-o.*); the kubelet's
labels come last (SpecAddAnnotations, runPodSandbox). So the names are taken from those, which no pod can choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.attribution.conmon import DRIVERS, find_conmon
from whodunnet.attribution.notes import PAUSE, STATIC_SOURCES, Notes, decode, is_static_uid, name_or_none, parse_pid
from whodunnet.attribution.processes import Processes
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.model.workload import Pod

CONFIG_LIMIT_BYTES: Final = 4 << 20
_STORAGE: Final = "containers/storage"
_SANDBOX: Final = "POD"  # cri-o: internal/oci, InfraContainerName


class _Config(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class Crio:
    """The containers of one machine: make a new one for every snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def find(self, container: str, pid: int | None = None) -> Notes | None:
        """The notes of a container id, None if there are none or they cannot be read.

        pid: a process of that container; its conmon leads to storage in unusual places.
        """
        for directory in self._bundles(container, pid):
            with suppress(UnreadableError):
                return self._read(directory)
        return None

    def _bundles(self, container: str, pid: int | None) -> Iterator[Path]:
        roots = self._processes.roots
        for storage in map(roots.resolve, (roots.run / _STORAGE, roots.var / "lib" / _STORAGE)):
            for driver in DRIVERS:
                yield storage / f"{driver}-containers" / container / "userdata"
        conmon = find_conmon(self._processes, container, pid) if pid is not None else None
        if conmon is not None and conmon.bundle is not None:
            yield conmon.bundle

    def _read(self, directory: Path) -> Notes:
        path = directory / "config.json"
        notes = parse_config(read_bytes(path, CONFIG_LIMIT_BYTES), str(path))
        with suppress(UnreadableError):
            pid = parse_pid(read_bytes(directory / "pidfile", limit=32), str(directory / "pidfile"))
            return msgspec.structs.replace(notes, first_pid=pid, started=self._processes.started(pid))
        return notes


def parse_config(data: bytes, source: str) -> Notes:
    """The names in a config.json; all None for a container that Kubernetes did not ask for. Raises MalformedError."""
    notes = decode(data, _Config, source, "an OCI runtime configuration").annotations or {}
    pod = _pod(notes)
    if pod is None:
        return Notes()
    name = notes.get("io.kubernetes.container.name")
    is_sandbox = name == _SANDBOX or (not name and notes.get("io.kubernetes.cri-o.ContainerType") == "sandbox")
    image = notes.get("io.kubernetes.cri-o.ImageName") or notes.get("io.kubernetes.cri-o.Image")
    name = PAUSE if is_sandbox else name_or_none(name)
    return Notes(name=name, image=name_or_none(image), pod=pod, is_sandbox=is_sandbox)


def _pod(notes: dict[str, str]) -> Pod | None:
    namespace = name_or_none(notes.get("io.kubernetes.pod.namespace"))
    name, uid = name_or_none(notes.get("io.kubernetes.pod.name")), name_or_none(notes.get("io.kubernetes.pod.uid"))
    if namespace is None or name is None or uid is None:
        return None
    static = notes.get("kubernetes.io/config.source") in STATIC_SOURCES or is_static_uid(uid)
    return Pod(namespace=namespace, name=name, uid=uid, static=static)
