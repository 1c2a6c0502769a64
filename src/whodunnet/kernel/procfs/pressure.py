"""/proc/pressure: time that tasks lost to interrupts, or waited for a CPU (psi_show, kernel/sched/psi.c)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

_FULL: Final = re.compile(rb"^full (?:avg[0-9]+=[0-9.]+ )*total=([0-9]{1,19})$", re.MULTILINE)
_SOME: Final = re.compile(
    rb"^some avg10=([0-9]{1,3}\.[0-9]{2}) (?:avg[0-9]+=[0-9.]+ )*total=([0-9]{1,19})$", re.MULTILINE
)


class Pressure(NamedTuple):
    """How long at least one task waited: percent of the last 10 s, and microseconds since boot."""

    avg10: float
    total_us: int


def parse_irq_pressure(data: bytes, source: str) -> int:
    """Microseconds since boot; irq has only the line "full". Raises MalformedError naming source."""
    match = _FULL.search(data)
    if match is None:
        raise MalformedError(f"{source}: should have a line full with a total and is {shown(data)}")
    return int(match[1])


def read_irq_pressure(roots: Roots) -> int:
    """Read pressure/irq. Raises UnreadableError: missing-file before 6.1 and without CONFIG_IRQ_TIME_ACCOUNTING."""
    path = roots.proc / "pressure/irq"
    return parse_irq_pressure(read_bytes(path), str(path))


def parse_some_pressure(data: bytes, source: str) -> Pressure:
    """The line "some". Raises MalformedError naming source."""
    match = _SOME.search(data)
    if match is None:
        raise MalformedError(f"{source}: should have a line some with avg10 and total and is {shown(data)}")
    return Pressure(float(match[1]), int(match[2]))


def read_cpu_pressure(roots: Roots) -> Pressure:
    """Read pressure/cpu. Raises UnreadableError: missing-file before 4.20, or where it is off (psi=0)."""
    path = roots.proc / "pressure/cpu"
    return parse_some_pressure(read_bytes(path), str(path))
