"""Names of Docker's containers, from <data root>/containers/<id>/config.v2.json (moby: container/container.go).

With cri-dockerd, and the dockershim before it, the kubelet's names are labels of the container. An image can bring
labels too, so they count only for a container whose cgroup is a pod's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
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
    parse_time,
)
from whodunnet.attribution.places import on_machine, read_passwd_home, read_users_file
from whodunnet.attribution.processes import ROOT, Processes
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod

CONFIG_LIMIT_BYTES: Final = 4 << 20
_SETTINGS_LIMIT_BYTES: Final = 1 << 20
_SANDBOX: Final = "POD"  # kubernetes pkg/kubelet/dockershim: sandboxContainerName
_USUAL_ROOTS: Final = ("lib/docker", "snap/docker/common/var-lib-docker")
_REMAPPED: Final = re.compile(r"\d{1,10}\.\d{1,10}")
_MAX_ENTRIES: Final = 256
_ROOT_OPTIONS: Final = ("--data-root", "--graph", "-g")


class _State(msgspec.Struct, frozen=True):
    pid: int = msgspec.field(default=0, name="Pid")
    started: str | None = msgspec.field(default=None, name="StartedAt")


class _Settings(msgspec.Struct, frozen=True):
    image: str | None = msgspec.field(default=None, name="Image")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


class _Config(msgspec.Struct, frozen=True):
    id: str | None = msgspec.field(default=None, name="ID")
    name: str | None = msgspec.field(default=None, name="Name")
    settings: _Settings | None = msgspec.field(default=None, name="Config")
    state: _State | None = msgspec.field(default=None, name="State")


class _DaemonSettings(msgspec.Struct, frozen=True):
    data_root: str | None = msgspec.field(default=None, name="data-root")
    graph: str | None = None


class Docker:
    """The containers of one machine: make a new one for every snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._roots = processes.roots

    def find(self, container: str, pod_uid: str | None = None) -> Notes | None:
        """The notes of a container id in that pod's cgroup, None if there are none or they cannot be read."""
        for root in self._data_roots:
            with suppress(UnreadableError):
                path = root / "containers" / container / "config.v2.json"
                return parse_config(read_bytes(path, CONFIG_LIMIT_BYTES), str(path), pod_uid, container)
        return None

    def find_rootless(self, container: str, uid: int) -> Notes | None:
        """The same of that user's own Docker: whatever is noted there, the user wrote."""
        home = on_machine(self._roots, read_passwd_home(self._roots, uid) or "")
        if home is None:
            return None
        path = home / ".local/share/docker/containers" / container / "config.v2.json"
        with suppress(UnreadableError):
            notes = parse_config(
                read_users_file(self._roots, path, uid, CONFIG_LIMIT_BYTES), str(path), None, container
            )
            return Notes(name=notes.name, image=notes.image, started=notes.started)
        return None

    @cached_property
    def _data_roots(self) -> list[Path]:
        roots = [self._roots.var / place for place in _USUAL_ROOTS]
        chosen = (on_machine(self._roots, root) for root in (*self._configured(), *self._commanded()))
        every = dict.fromkeys(self._roots.resolve(root) for root in (*chosen, *roots) if root is not None)
        return [place for root in every for place in (root, *_remapped(root))]

    def _configured(self) -> Iterator[str]:
        path = self._roots.resolve(self._roots.etc / "docker/daemon.json")
        with suppress(UnreadableError):
            settings = decode(
                read_bytes(path, _SETTINGS_LIMIT_BYTES), _DaemonSettings, str(path), "settings of dockerd"
            )
            yield from (root for root in (settings.data_root, settings.graph) if root)

    def _commanded(self) -> Iterator[str]:
        """What the running dockerd was told on its command line."""
        path = self._roots.run / "docker.pid"
        with suppress(UnreadableError):
            pid = parse_pid(read_bytes(path, limit=32), str(path))
            if self._processes.runs(pid, "dockerd", ROOT):
                yield from options(self._processes.command(pid), _ROOT_OPTIONS)


def parse_config(data: bytes, source: str, pod_uid: str | None = None, container: str | None = None) -> Notes:
    """The names in a config.v2.json; those of Kubernetes only if they are of that pod.

    Raises MalformedError, also where it says that it is not of that container.
    """
    config = decode(data, _Config, source, "a container of Docker")
    if container is not None and config.id not in (None, container):
        raise MalformedError(f"{source}: should be of container {container} and is of {clean(config.id or '')}")
    settings, state = config.settings or _Settings(), config.state or _State()
    labels = settings.labels or {}
    pod = _pod(labels, pod_uid)
    in_pod = labels.get("io.kubernetes.container.name") if pod else None
    is_sandbox = in_pod == _SANDBOX
    return Notes(
        name=PAUSE if is_sandbox else name_or_none(in_pod or (config.name or "").removeprefix("/")),
        image=name_or_none(settings.image),
        pod=pod,
        is_sandbox=is_sandbox,
        started=parse_time(state.started),
        first_pid=state.pid if state.pid > 0 else None,
    )


def _pod(labels: dict[str, str], uid: str | None) -> Pod | None:
    namespace = name_or_none(labels.get("io.kubernetes.pod.namespace"))
    name = name_or_none(labels.get("io.kubernetes.pod.name"))
    if uid is None or labels.get("io.kubernetes.pod.uid") != uid or namespace is None or name is None:
        return None
    static = labels.get("annotation.kubernetes.io/config.source") in STATIC_SOURCES or is_static_uid(uid)
    return Pod(namespace=namespace, name=name, uid=uid, static=static)


def _remapped(root: Path) -> list[Path]:
    """The roots below a root of a daemon with userns-remap: <uid>.<gid>."""
    with suppress(OSError), os.scandir(root) as entries:
        return sorted(root / entry.name for entry in islice(entries, _MAX_ENTRIES) if _REMAPPED.fullmatch(entry.name))
    return []


def options(command: list[str], names: tuple[str, ...]) -> Iterator[str]:
    """The values of these options, as "--name value" and as "--name=value"."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word in names and following:
            yield following
        name, equals, value = word.partition("=")
        if equals and name in names and value:
            yield value
