"""/proc/cgroups: how many cgroups each controller has (proc_cgroupstats_show, kernel/cgroup/cgroup-v1.c).

Deleted cgroups are counted until the last thing charged to them is gone. From 6.18 on only v1's controllers are listed.
"""

from __future__ import annotations

from typing import Final

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots

_COLUMNS: Final = [b"#subsys_name", b"hierarchy", b"num_cgroups", b"enabled"]


def parse_cgroups(data: bytes, source: str) -> dict[str, int]:
    """Cgroups by controller, of those that are switched on. Raises MalformedError naming source."""
    header, *rows = [line.split() for line in data.split(b"\n") if line.strip()] or [[]]
    if header != _COLUMNS:
        raise MalformedError(f"{source}: should begin with names of columns and begins with {shown(data)}")
    found: dict[str, int] = {}
    for row in rows:
        if len(row) != len(_COLUMNS) or not row[0].isascii():
            raise MalformedError(f"{source}: a line should have a name and three numbers: {shown(b' '.join(row))}")
        name = row[0].decode()
        number = integer(row[2], source, f"the number of cgroups of {name}")
        if integer(row[3], source, f"whether {name} is enabled") and number >= 0:
            found[name] = number
    return found


def read_cgroups(roots: Roots) -> dict[str, int]:
    """Read cgroups. Raises UnreadableError."""
    path = roots.proc / "cgroups"
    return parse_cgroups(read_bytes(path), str(path))
