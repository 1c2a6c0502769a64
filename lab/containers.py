"""Cgroups as the kubelet and a runtime make them, so that a program of a case is one of a pod's."""

from __future__ import annotations

import errno
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.look import wait_until
from lab.stage import Stage

CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = ("freezer", "pids", "devices", "systemd")
"""Those of cgroup v1 in which a cgroup changes nothing for who is in it. Where there are none, cgroup v2 has one."""


GONE_SECONDS = 5.0


class PodCgroup:
    """One container of one pod, by the names of the cgroupfs driver, until the stage closes."""

    def __init__(self, stage: Stage) -> None:
        self.uid = str(uuid.uuid4())
        container = hashlib.sha256(self.uid.encode()).hexdigest()
        self.places = [point / "kubepods" / "besteffort" / f"pod{self.uid}" / container for point in hierarchies()]
        for place in self.places:
            for above in (place.parents[2], place.parents[1]):
                stage.tell_guard(f"empty {above}")
            stage.tell_guard(f"directory {place.parent}")
            stage.undo.callback(remove, place)
            place.mkdir(parents=True)

    def add(self, pid: int) -> None:
        """The process, and whatever it starts from now on."""
        for place in self.places:
            (place / "cgroup.procs").write_text(str(pid))


def hierarchies() -> Iterator[Path]:
    old = [CGROUPS / name for name in HIERARCHIES if (CGROUPS / name).is_dir()]
    yield from old or [CGROUPS]


def is_removed(place: Path) -> bool:
    """Who has just been killed is in it until somebody has waited for it."""
    with suppress(FileNotFoundError):
        try:
            place.rmdir()
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def remove(place: Path) -> None:
    """With its pod, and what is above it if nobody else is in it. Raises NotThereError if its programs do not go."""
    wait_until(lambda: is_removed(place), GONE_SECONDS, lambda: f"{place} is not empty")
    for directory in place.parents[:3]:
        with suppress(OSError):
            directory.rmdir()
