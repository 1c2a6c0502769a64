"""Names of pods from the kubelet's log directories, for pods whose runtime's notes are missing or cannot be read.

/var/log/pods/<namespace>_<pod>_<uid>/ (kubernetes: pkg/kubelet/kuberuntime/helpers.go, BuildPodLogsDirectory), and
links /var/log/containers/<pod>_<namespace>_<container>-<container id>.log (legacy.go, logSymlink). Both are root's.
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

from whodunnet.attribution.notes import is_static_uid
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod

MAX_PODS: Final = 4096
MAX_LINKS: Final = 16_384
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME: Final = r"[a-z0-9][-a-z0-9.]{0,252}"
_POD: Final = re.compile(rf"({_LABEL})_({_NAME})_([0-9a-f-]{{32,36}})")
_LINK: Final = re.compile(rf"({_NAME})_({_LABEL})_({_LABEL})-([0-9a-f]{{64}})\.log")
_LONGEST_LINK: Final = 250  # of 251 the kubelet may have cut the container's name (legacy.go, maxFileNameLen)


class Kubelet:
    """The log directories of one machine, listed when first asked for: make a new one for every snapshot."""

    def __init__(self, roots: Roots) -> None:
        self._logs = roots.var / "log"

    def pod(self, uid: str) -> Pod:
        """The pod with this uid; without names where there is no directory, or more than one."""
        names = self._pods.get(uid, set())
        namespace, name = next(iter(names)) if len(names) == 1 else (None, None)
        return Pod(namespace=namespace, name=name, uid=uid, static=is_static_uid(uid))

    def container(self, identifier: str, pod: Pod) -> str | None:
        """The name of a container of this pod; None for a sandbox, which has no log."""
        linked = self._containers.get(identifier)
        return linked[2] if linked is not None and linked[:2] == (pod.name, pod.namespace) else None

    @cached_property
    def _pods(self) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        for match in filter(None, map(_POD.fullmatch, _names(self._logs / "pods", MAX_PODS))):
            found.setdefault(match[3], set()).add((match[1], match[2]))
        return found

    @cached_property
    def _containers(self) -> dict[str, tuple[str, str, str]]:
        names = (name for name in _names(self._logs / "containers", MAX_LINKS) if len(name) <= _LONGEST_LINK)
        return {match[4]: (match[1], match[2], match[3]) for match in filter(None, map(_LINK.fullmatch, names))}


def _names(directory: Path, limit: int) -> Iterator[str]:
    with suppress(OSError), os.scandir(directory) as entries:
        yield from (entry.name for entry in islice(entries, limit))
