"""/proc/pressure/irq: time that tasks lost to interrupts (psi_show, kernel/sched/psi.c; PSI documentation)."""

from __future__ import annotations

import re
from typing import Final

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

_FULL: Final = re.compile(rb"^full (?:avg[0-9]+=[0-9.]+ )*total=([0-9]{1,19})$", re.MULTILINE)


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
