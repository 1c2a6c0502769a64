"""Where the machine is: every path that may differ between a live node, a mounted host and a fixture."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Roots(msgspec.Struct, frozen=True, kw_only=True):
    """Roots of procfs, sysfs, the cgroup file systems, log files, and run-time state."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    cgroup: Path = Path("/sys/fs/cgroup")
    dev: Path = Path("/dev")
    run: Path = Path("/run")
    var: Path = Path("/var")

    @classmethod
    def below(cls, root: Path) -> Roots:
        """The roots of a machine whose root directory is `root` (a host mounted at /host, or a fixture)."""
        return cls(
            proc=root / "proc", sys=root / "sys", cgroup=root / "sys/fs/cgroup", dev=root / "dev", run=root / "run",
            var=root / "var",
        )  # fmt: skip
