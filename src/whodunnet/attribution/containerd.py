"""Names of containerd's containers and pods, from the state it keeps on disk; no server is asked.

A container's bundle is <state>/io.containerd.runtime.v2.task/<namespace>/<id>/ with config.json (the OCI runtime
specification), in which containerd's CRI plugin notes what Kubernetes calls it (pkg/cri/annotations), and init.pid.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Final

import msgspec

from whodunnet.attribution.notes import (
    PAUSE,
    STATIC_SOURCES,
    Notes,
    decode,
    is_static_uid,
    name_or_none,
    parse_pid,
)
from whodunnet.attribution.processes import ROOT, Processes
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod

CONFIG_LIMIT_BYTES: Final = 4 << 20
_TASKS: Final = "io.containerd.runtime.v2.task"
_MAX_NAMESPACES: Final = 64
_SHIM: Final = "containerd-shim"


class _Config(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class Containerd:
    """The bundles of one machine, remembered by container id: make a new one for every snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._known: dict[str, Notes | None] = {}
        self._directories = list(_task_directories(processes.roots))

    def find(self, container: str, pid: int | None = None) -> Notes | None:
        """The notes of a container id (64 hexadecimal digits), None if there are none or they cannot be read.

        pid: a process of that container; its shim leads to state directories in unusual places.
        """
        if self._known.get(container) is None:
            self._known[container] = self._look(container, pid)
        return self._known[container]

    def _look(self, container: str, pid: int | None) -> Notes | None:
        for directory in self._places(pid):
            with suppress(UnreadableError):
                return self._read(directory / container)
        return None

    def _places(self, pid: int | None) -> Iterator[Path]:
        yield from self._directories
        shim = self._shim_of(pid) if pid is not None else None
        if shim is not None:
            # The shim works in the bundle of the sandbox (runtime/v2/shim: cmd.Dir), next to those of its containers.
            directory = self._processes.roots.proc / str(shim) / "cwd" / os.pardir
            self._directories.append(directory)
            yield directory

    def _read(self, directory: Path) -> Notes:
        path = directory / "config.json"
        notes = parse_config(read_bytes(path, CONFIG_LIMIT_BYTES), str(path))
        pid = _first_pid(directory)
        started = self._processes.started(pid) if pid is not None else None
        return msgspec.structs.replace(notes, first_pid=pid, started=started or _written(path))

    def _shim_of(self, pid: int) -> int | None:
        # comm holds 15 bytes, so this is containerd-shim-runc-v2 as well
        shim = self._processes.outermost(pid, lambda stat: stat.comm == _SHIM)
        return shim if shim is not None and self._processes.runs(shim, _SHIM, ROOT) else None


def parse_config(data: bytes, source: str) -> Notes:
    """The names in a bundle's config.json; all None for a container that Kubernetes did not ask for.

    Raises MalformedError.
    """
    notes = decode(data, _Config, source, "an OCI runtime configuration").annotations or {}
    is_sandbox = _note(notes, "container-type") == "sandbox"
    return Notes(
        name=PAUSE if is_sandbox else _note(notes, "container-name"),
        image=_note(notes, "image-name"),
        pod=_pod(notes),
        is_sandbox=is_sandbox,
    )


def _pod(notes: dict[str, str]) -> Pod | None:
    namespace, name = _note(notes, "sandbox-namespace"), _note(notes, "sandbox-name")
    if namespace is None or name is None:
        return None
    uid = _note(notes, "sandbox-uid") or _uid_of_log_directory(_note(notes, "sandbox-log-directory"))
    # Pod annotations are here only if the runtime is configured to pass them (pod_annotations).
    static = notes.get("kubernetes.io/config.source") in STATIC_SOURCES or is_static_uid(uid)
    return Pod(namespace=namespace, name=name, uid=uid, static=static)


def _uid_of_log_directory(path: str | None) -> str | None:
    """The uid in /var/log/pods/<namespace>_<name>_<uid>, for containerd before 1.6 (no sandbox-uid)."""
    words = PurePath(path or "").name.split("_")
    return words[2] if len(words) == 3 and words[2] else None


def _note(notes: dict[str, str], name: str) -> str | None:
    return name_or_none(notes.get(f"io.kubernetes.cri.{name}"))


def _first_pid(directory: Path) -> int | None:
    path = directory / "init.pid"
    with suppress(UnreadableError):
        return parse_pid(read_bytes(path, limit=32), str(path))
    return None


def _written(path: Path) -> datetime | None:
    """When the configuration was written, which is just before the first process started."""
    with suppress(OSError, OverflowError, ValueError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return None


def _task_directories(roots: Roots) -> Iterator[Path]:
    """<state>/io.containerd.runtime.v2.task/<namespace> at containerd's, k3s's (and RKE2's) and MicroK8s's places."""
    for state in ("run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd"):
        top, _, rest = state.partition("/")
        tasks = (roots.run if top == "run" else roots.var) / rest / _TASKS
        with suppress(OSError):
            yield from sorted(tasks.iterdir())[:_MAX_NAMESPACES]
