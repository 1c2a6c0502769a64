"""Memory cgroups that are deleted while a file in memory is charged to them, and who reads what the kernel sums up.

They die as soon as the file is gone: the files are in a file system of the process that made them, and go with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lab.actor import rest
from lab.look import NotThereError
from lab.stage import Player, Pod, Stage

OLD = Path("/sys/fs/cgroup/memory")
NEW = Path("/sys/fs/cgroup")
STAT = "memory.stat"


def hierarchy() -> Path:
    """Where the memory controller is: in one of its own (cgroup v1), or in the only one. Raises NotThereError."""
    for point in (OLD, NEW):
        if (point / "cgroup.procs").exists() and ((point / STAT).exists() or point == NEW):
            return point
    raise NotThereError("no memory controller")


class Parent:
    """A cgroup of the case, whose children are made and deleted, until the stage closes."""

    def __init__(self, stage: Stage) -> None:
        top = hierarchy()
        self.place = top / stage.label
        stage.tell_guard(f"directory {self.place}")
        self.place.mkdir()
        stage.undo.callback(self.remove)
        if (control := top / "cgroup.subtree_control").exists():
            if "memory" not in control.read_text().split():
                raise NotThereError("no cgroups with the memory controller, which is not switched on for a case")
            (self.place / "cgroup.subtree_control").write_text("+memory")

    def remove(self) -> None:
        for child in self.place.iterdir():
            if child.is_dir():
                child.rmdir()
        self.place.rmdir()


def live_and_known() -> tuple[int, int]:
    """Directories, and memory cgroups which the kernel counts: those that are dying too."""
    live = sum(1 for _ in os.walk(hierarchy()))
    for line in Path("/proc/cgroups").read_text().splitlines():
        if line.startswith("memory\t"):
            return live, int(line.split()[2])
    statistics = (NEW / "cgroup.stat").read_text().split()
    return live, live + int(statistics[statistics.index("nr_dying_descendants") + 1])


def runtime(stage: Stage, pod: Pod, parent: Parent, cgroups: int) -> Player:
    """Who makes and deletes so many, with a view of the file systems of its own."""
    actor = ("runtime", __name__, make_and_delete.__name__, json.dumps([str(parent.place), cgroups]))
    own = ("unshare", "--mount", "--propagation", "private")
    return stage.run(pod, "runtime", *own, sys.executable, "-m", "lab.actor", *actor)


def make_and_delete(parent: str, cgroups: int) -> None:
    """As containers that come and go, each with a file in a volume in memory that stays."""
    files = Path.cwd() / "volume"
    files.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(files)], check=True)
    for number in range(cgroups):
        come_and_go(Path(parent) / str(number), files / str(number))
    print(f"deleted {cgroups}", flush=True)
    rest()


def come_and_go(cgroup: Path, file: Path) -> None:
    cgroup.mkdir()
    if (child := os.fork()) == 0:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        file.write_bytes(bytes(4096))
        os._exit(0)
    os.waitpid(child, 0)
    while True:
        try:
            cgroup.rmdir()
        except OSError:  # the child is still on its way out
            continue
        return


def make(parent: str, cgroups: int) -> None:
    """They live."""
    for number in range(cgroups):
        (Path(parent) / str(number)).mkdir()
    print(f"made {cgroups}", flush=True)
    rest()


def read_again_and_again(every_seconds: float) -> None:
    """As a monitor does, and tell how long each took."""
    file = hierarchy() / STAT
    while True:
        begin = time.monotonic()
        file.read_bytes()
        print(f"read {1000 * (time.monotonic() - begin):.3f} ms", flush=True)
        time.sleep(every_seconds)
