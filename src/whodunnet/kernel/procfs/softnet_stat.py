"""/proc/net/softnet_stat: received packets by CPU, of the whole kernel (softnet_seq_show, net/core/net-procfs.c).

A line of hexadecimal numbers for each CPU that is online. Columns were only ever added: 10 since RPS (2.6.35), 11 with
the flow limit (3.11), 13 with queue length and number of the CPU (5.10), 15 with both parts of that length (6.4).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cpus import CPUS_MAX, read_online
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

_LINE: Final = re.compile(rb"[0-9a-f]{8}(?: [0-9a-f]{8}){8,31}")


class SoftnetLine(msgspec.Struct, frozen=True, kw_only=True):
    """One CPU, counters of 32 bits. None: this kernel has no such column. cpu: its number, if the line says it."""

    processed: int
    dropped: int
    squeezed: int
    steered: int | None = None
    flow_limited: int | None = None
    waiting: int | None = None
    cpu: int | None = None


def parse_softnet_stat(data: bytes, source: str) -> list[SoftnetLine]:
    """The lines in their order. Raises MalformedError naming source."""
    found = [_line(line.strip(), source) for line in data.split(b"\n") if line.strip()]
    if not found:
        raise MalformedError(f"{source}: has a line for no CPU")
    return found


def read_softnet_stat(roots: Roots) -> dict[int, SoftnetLine]:
    """By CPU. Raises UnreadableError, code "vanished" if CPUs came or went while it was read."""
    path = roots.proc / "self/net/softnet_stat"
    for _ in range(2):
        before = read_online(roots)
        lines = parse_softnet_stat(read_bytes(path), str(path))
        found = {cpu: line for line in lines if (cpu := line.cpu) is not None}
        if len(found) == len(lines):
            return found
        if found:
            raise MalformedError(f"{path}: only some lines have a CPU of their own")
        if len(lines) == len(before) and before == read_online(roots):
            return dict(zip(before, lines, strict=True))
    raise UnreadableError(f"{path} does not say which line is of which CPU, and CPUs come and go", code="vanished")


def _line(line: bytes, source: str) -> SoftnetLine:
    if _LINE.fullmatch(line) is None:
        raise MalformedError(f"{source}: a line should be 9 to 32 hexadecimal numbers and is {shown(line)}")
    columns = [int(word, 16) for word in line.split()]
    cpu = _column(columns, 12)
    if cpu is not None and cpu >= CPUS_MAX:
        raise MalformedError(f"{source}: {cpu} is no number of a CPU")
    return SoftnetLine(
        processed=columns[0],
        dropped=columns[1],
        squeezed=columns[2],
        steered=_column(columns, 9),
        flow_limited=_column(columns, 10),
        waiting=_column(columns, 11),
        cpu=cpu,
    )


def _column(columns: list[int], place: int) -> int | None:
    return columns[place] if place < len(columns) else None
