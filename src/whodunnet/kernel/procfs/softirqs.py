"""/proc/softirqs: how often each softirq ran on each CPU, in 32 bits (show_softirqs, fs/proc/softirqs.c)."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from whodunnet.errors import MalformedError
from whodunnet.kernel.cpus import CPUS_MAX
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots

_CPU: Final = re.compile(rb"CPU([0-9]{1,5})")
_LIMIT_BYTES: Final = 4 << 20  # 11 bytes for each softirq and possible CPU


def parse_softirqs(data: bytes, source: str, only: Container[str] | None = None) -> dict[str, dict[int, int]]:
    """Softirq -> CPU -> times. only: softirqs to keep; this kernel may lack some. Raises MalformedError."""
    header, *rows = data.split(b"\n")
    matches = [_CPU.fullmatch(word) for word in header.split()]
    cpus = [int(match[1]) for match in matches if match is not None]
    if not cpus or len(cpus) != len(matches) or len(set(cpus)) != len(cpus) or max(cpus) >= CPUS_MAX:
        raise MalformedError(f"{source}: should begin with the names of CPUs and begins with {shown(header)}")
    found: dict[str, dict[int, int]] = {}
    for row in filter(bytes.strip, rows):
        name, colon, rest = row.partition(b":")
        words = rest.split()
        if not colon or not name.isascii() or len(words) != len(cpus):
            raise MalformedError(f"{source}: a line should have a name and {len(cpus)} numbers and is {shown(row)}")
        key = name.strip().decode()
        if only is None or key in only:
            found[key] = {cpu: integer(word, source, key) for cpu, word in zip(cpus, words, strict=True)}
    return found


def read_softirqs(roots: Roots, only: Container[str] | None = None) -> dict[str, dict[int, int]]:
    """Read softirqs. Raises UnreadableError."""
    path = roots.proc / "softirqs"
    return parse_softirqs(read_bytes(path, _LIMIT_BYTES), str(path), only)
