"""Where the machine is: every path that may differ between a live node, a mounted host and a fixture."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_MAX_LINKS = 40  # MAXSYMLINKS (linux/namei.h)


class Roots(msgspec.Struct, frozen=True, kw_only=True):
    """Roots of procfs, sysfs, the cgroup file systems, log files, configuration, and run-time state.

    top: the root directory of that machine. mounts: the process in whose list of mounts the cgroup file systems are.
    """

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    cgroup: Path = Path("/sys/fs/cgroup")
    dev: Path = Path("/dev")
    run: Path = Path("/run")
    var: Path = Path("/var")
    etc: Path = Path("/etc")
    top: Path = Path("/")
    mounts: str = "self"

    @classmethod
    def below(cls, root: Path) -> Roots:
        """The roots of a machine whose root directory is `root` (a host mounted at /host, or a fixture)."""
        return cls(
            proc=root / "proc", sys=root / "sys", cgroup=root / "sys/fs/cgroup", dev=root / "dev", run=root / "run",
            var=root / "var", etc=root / "etc", top=root,
        )  # fmt: skip

    def resolve(self, path: Path) -> Path:
        """`path`, which is below `top`, with symbolic links followed as that machine would.

        The kernel follows an absolute link from our own root directory, even below /host and below /proc/1/root. What
        does not exist stays as it is; so does a path with more links than the kernel would follow.
        """
        if self.top == Path("/"):
            return path
        done, rest, links = self.top, list(reversed(path.relative_to(self.top).parts)), 0
        while rest:
            name = rest.pop()
            if name == os.pardir:
                done = done.parent if done != self.top else done
                continue
            target = _target(done / name)
            if target is None:
                done /= name
                continue
            if (links := links + 1) > _MAX_LINKS:
                return path
            done = self.top if target.is_absolute() else done
            rest += [part for part in reversed(target.parts) if part != "/"]
        return done


def _target(path: Path) -> Path | None:
    try:
        return path.readlink()
    except (OSError, ValueError):
        return None
