"""Connection tracking in procfs (net/netfilter/nf_conntrack_standalone.c; nf_conntrack-sysctl.rst).

The files below /proc/sys/net are those of the network namespace that the calling thread is in; nf_conntrack_max and
nf_conntrack_buckets show the same in all.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown, unreadable
from whodunnet.kernel.roots import Roots

_STATISTICS_LIMIT_BYTES = 4 << 20  # 150 bytes for each CPU
_TIMEOUT = re.compile(r"nf_conntrack_(\w*timeout\w*)")
_NO_ENTRY = "frag6_timeout"  # of fragments, not of entries
_VALUE = re.compile(rb"[0-9a-f]{1,16}")
_TIMEOUTS_MAX = 256


class TableSize(msgspec.Struct, frozen=True, kw_only=True):
    """count: entries of this namespace. max_entries, buckets: of the whole kernel; 0 entries is without limit."""

    count: int
    max_entries: int | None
    buckets: int | None


def parse_number(data: bytes, source: str) -> int:
    """Parse a sysctl that is one number. Raises MalformedError naming source."""
    return integer(data.strip(), source, "the value")


def parse_statistics(data: bytes, source: str) -> dict[str, int]:
    """Counters by column name, summed over CPUs; "entries", which every CPU repeats, once. Raises MalformedError.

    Names and their number change: "searched" became "clashres", "delete_list" "chainlength".
    """
    header, *rows = [line.split() for line in data.split(b"\n") if line.strip()] or [[]]
    if b"entries" not in header or not all(re.fullmatch(rb"[a-z_0-9]{1,40}", name) for name in header):
        raise MalformedError(f"{source}: should begin with column names and begins with {shown(data)}")
    names = [name.decode() for name in header]
    total = dict.fromkeys(names, 0)
    for row in rows:
        if len(row) != len(names) or not all(map(_VALUE.fullmatch, row)):
            raise MalformedError(
                f"{source}: a line should have {len(names)} hexadecimal numbers: {shown(b' '.join(row))}"
            )
        for name, value in zip(names, row, strict=True):
            total[name] = int(value, 16) + (total[name] if name != "entries" else 0)
    return total


def read_size(roots: Roots) -> TableSize | None:
    """How full the table is, None if this kernel tracks no connections (module not loaded). Raises UnreadableError."""
    count = _number(roots, "count")
    if count is None:
        return None
    return TableSize(count=count, max_entries=_number(roots, "max"), buckets=_number(roots, "buckets"))


def read_statistics(roots: Roots, task: str = "self") -> dict[str, int]:
    """Counters of the network namespace of `task` (a pid, "self", "thread-self"), each since it was made.

    Raises UnreadableError: missing-file also in a kernel without CONFIG_NF_CONNTRACK_PROCFS.
    """
    path = roots.proc / task / "net/stat/nf_conntrack"
    return parse_statistics(read_bytes(path, _STATISTICS_LIMIT_BYTES), str(path))


def read_timeouts(roots: Roots) -> dict[str, int]:
    """Timeouts in force, in seconds, by name without "nf_conntrack_". Raises UnreadableError."""
    directory = _directory(roots)
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise unreadable(str(directory), error) from error
    found = [match for name in names if (match := _TIMEOUT.fullmatch(name)) and match[1] != _NO_ENTRY]
    return {match[1]: _read_number(directory / match[0]) for match in found[:_TIMEOUTS_MAX]}


def _number(roots: Roots, name: str) -> int | None:
    try:
        return _read_number(_directory(roots) / f"nf_conntrack_{name}")
    except UnreadableError as error:
        if error.code == "missing-file":
            return None
        raise


def _read_number(path: Path) -> int:
    return parse_number(read_bytes(path), str(path))


def _directory(roots: Roots) -> Path:
    return roots.proc / "sys/net/netfilter"
