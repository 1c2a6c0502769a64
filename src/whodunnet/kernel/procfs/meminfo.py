"""/proc/meminfo: the machine's memory (fs/proc/meminfo.c; proc_meminfo(5))."""

from __future__ import annotations

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots


class Meminfo(msgspec.Struct, frozen=True, kw_only=True):
    """total_bytes: usable RAM (MemTotal). available_bytes: what could be had without swapping, None before 3.14."""

    total_bytes: int
    available_bytes: int | None


def parse_meminfo(data: bytes, source: str) -> Meminfo:
    """Parse meminfo. Raises MalformedError naming source and line."""
    lines = dict(line.split(b":", 1) for line in data.split(b"\n") if b":" in line)
    return Meminfo(
        total_bytes=_bytes(lines, b"MemTotal", source),
        available_bytes=_bytes(lines, b"MemAvailable", source) if b"MemAvailable" in lines else None,
    )


def read_meminfo(roots: Roots) -> Meminfo:
    """Read meminfo. Raises UnreadableError."""
    path = roots.proc / "meminfo"
    return parse_meminfo(read_bytes(path), str(path))


def _bytes(lines: dict[bytes, bytes], name: bytes, source: str) -> int:
    """One line "name: number kB" in bytes. The kernel's kB are 1024 bytes."""
    words = lines.get(name, b"").split()
    if len(words) != 2 or words[1] != b"kB":
        raise MalformedError(f"{source}: {name.decode()} should be a number of kB and is {shown(b' '.join(words))}")
    return integer(words[0], source, name.decode()) * 1024
