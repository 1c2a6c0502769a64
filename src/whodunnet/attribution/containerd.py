"""Names of containerd's containers and pods, from the state it keeps on disk; no server is asked.

A container's bundle is <state>/io.containerd.runtime.v2.task/<namespace>/<id>/ with config.json (the OCI runtime
specification), in which containerd's CRI plugin notes what Kubernetes calls it (pkg/cri/annotations), and init.pid.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.process import (
    ProcessStat,
    read_boot_time,
    read_effective_uid,
    read_executable,
    read_stat,
)
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod

CONFIG_LIMIT_BYTES: Final = 4 << 20
PAUSE: Final = "pause"
_TASKS: Final = "io.containerd.runtime.v2.task"
_MAX_NAMESPACES: Final = 64
_MAX_ANCESTORS: Final = 64
_SHIM: Final = "containerd-shim"
_STATIC_SOURCES: Final = {"file", "http"}  # kubernetes: pkg/kubelet/types/pod_update.go


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What containerd noted of one container. name: "pause" for a pod's sandbox. started: of its first process."""

    name: str | None = None
    image: str | None = None
    pod: Pod | None = None
    is_sandbox: bool = False
    started: datetime | None = None


class _Config(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class Bundles:
    """The bundles of one machine, remembered by container id: make a new one for every snapshot."""

    def __init__(self, roots: Roots, boot_time: datetime | None = None) -> None:
        self._roots = roots
        self._boot_time = boot_time
        self._known: dict[str, Bundle | None] = {}
        self._parents: dict[int, ProcessStat | None] = {}
        self._directories = list(_task_directories(roots))

    def find(self, container: str, pid: int | None = None) -> Bundle | None:
        """The bundle of a container id (64 hexadecimal digits), None if there is none or it cannot be read.

        pid: a process of that container; its shim leads to state directories in unusual places.
        """
        if self._known.get(container) is None:
            self._known[container] = self._look(container, pid)
        return self._known[container]

    def _look(self, container: str, pid: int | None) -> Bundle | None:
        for directory in self._places(pid):
            with suppress(UnreadableError):
                return self._read(directory / container)
        return None

    def _places(self, pid: int | None) -> Iterator[Path]:
        yield from self._directories
        shim = self._shim_of(pid) if pid is not None else None
        if shim is not None:
            # The shim works in the bundle of the sandbox (runtime/v2/shim: cmd.Dir), next to those of its containers.
            directory = self._roots.proc / str(shim) / "cwd" / os.pardir
            self._directories.append(directory)
            yield directory

    def _read(self, directory: Path) -> Bundle:
        path = directory / "config.json"
        bundle = parse_config(read_bytes(path, CONFIG_LIMIT_BYTES), str(path))
        return msgspec.structs.replace(bundle, started=self._started(directory))

    def _started(self, directory: Path) -> datetime | None:
        """Start of the container's first process; when its configuration was written if that process is gone."""
        with suppress(UnreadableError):
            path = directory / "init.pid"
            stat = read_stat(self._roots, _pid(read_bytes(path, limit=32), str(path)))
            return self._boot() + timedelta(seconds=stat.started_seconds)
        with suppress(OSError, OverflowError, ValueError):
            return datetime.fromtimestamp((directory / "config.json").stat().st_mtime, UTC)
        return None

    def _boot(self) -> datetime:
        if self._boot_time is None:
            self._boot_time = read_boot_time(self._roots)
        return self._boot_time

    def _shim_of(self, pid: int) -> int | None:
        """The outermost ancestor that is a containerd shim: what runs in a container may call itself one too."""
        shim = None
        for _ in range(_MAX_ANCESTORS):
            stat = self._stat(pid)
            if stat is None:
                break
            if stat.comm == _SHIM:  # comm holds 15 bytes, so this is containerd-shim-runc-v2 as well
                shim = pid
            pid = stat.parent
        return shim if shim is not None and self._is_shim(shim) else None

    def _is_shim(self, pid: int) -> bool:
        """Whether it is root's and its program is named so: any user can give a process that name."""
        with suppress(UnreadableError):
            program = PurePath(read_executable(self._roots, pid) or "").name
            return program.startswith(_SHIM) and read_effective_uid(self._roots, pid) == 0
        return False

    def _stat(self, pid: int) -> ProcessStat | None:
        if pid not in self._parents:
            self._parents[pid] = None
            with suppress(UnreadableError):
                self._parents[pid] = read_stat(self._roots, pid) if pid > 0 else None
        return self._parents[pid]


def parse_config(data: bytes, source: str) -> Bundle:
    """The names in a bundle's config.json; all None for a container that Kubernetes did not ask for.

    Raises MalformedError.
    """
    try:
        notes = msgspec.json.decode(data, type=_Config).annotations or {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{source}: should be an OCI runtime configuration: {clean(str(error))}") from error
    is_sandbox = _note(notes, "container-type") == "sandbox"
    return Bundle(
        name=PAUSE if is_sandbox else _note(notes, "container-name"),
        image=_note(notes, "image-name"),
        pod=_pod(notes),
        is_sandbox=is_sandbox,
    )


def is_static_uid(uid: str | None) -> bool:
    """Whether the kubelet made this uid: an MD5 sum for a pod from its own disk, where the API server gives a UUID.

    Source: kubernetes pkg/kubelet/config/common.go, applyDefaults.
    """
    return uid is not None and len(uid) == 32


def _pod(notes: dict[str, str]) -> Pod | None:
    namespace, name = _note(notes, "sandbox-namespace"), _note(notes, "sandbox-name")
    if namespace is None or name is None:
        return None
    uid = _note(notes, "sandbox-uid") or _uid_of_log_directory(_note(notes, "sandbox-log-directory"))
    # Pod annotations are here only if the runtime is configured to pass them (pod_annotations).
    static = notes.get("kubernetes.io/config.source") in _STATIC_SOURCES or is_static_uid(uid)
    return Pod(namespace=namespace, name=name, uid=uid, static=static)


def _uid_of_log_directory(path: str | None) -> str | None:
    """The uid in /var/log/pods/<namespace>_<name>_<uid>, for containerd before 1.6 (no sandbox-uid)."""
    words = PurePath(path or "").name.split("_")
    return words[2] if len(words) == 3 and words[2] else None


def _note(notes: dict[str, str], name: str) -> str | None:
    value = notes.get(f"io.kubernetes.cri.{name}")
    return clean(value) if value else None


def _pid(data: bytes, source: str) -> int:
    text = data.strip()
    if not text.isdigit() or len(text) > 10:
        raise MalformedError(f"{source}: should be a process id")
    return int(text)


def _task_directories(roots: Roots) -> Iterator[Path]:
    """<state>/io.containerd.runtime.v2.task/<namespace> at containerd's, k3s's (and RKE2's) and MicroK8s's places."""
    for state in ("run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd"):
        top, _, rest = state.partition("/")
        tasks = (roots.run if top == "run" else roots.var) / rest / _TASKS
        with suppress(OSError):
            yield from sorted(tasks.iterdir())[:_MAX_NAMESPACES]
