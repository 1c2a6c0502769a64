"""`python -m bench.suspects`, as root: what the usual suspects add to a window, in CPU time of the whole command.

Runs with and without their rules take turns on one node of 100 namespaces with 5,000 sockets, so that both meet the
same machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from bench.commands import EXPECTED, WHODUNNET, environments
from bench.crowd import crowd
from bench.report import Report
from whodunnet.rules.catalogue import catalogue

NAMESPACES, SOCKETS_EACH, UNREAD_EVERY = 100, 50, 10
PAIRS: Final = 7
LIMIT_SECONDS: Final = 0.3
SUSPECTS: Final = (
    "accept-queue", "syn-queue", "udp-buffers", "port-exhaustion", "time-wait-overflow", "descriptor-limit",
    "neighbour-table", "nic-drops", "retransmits", "path-mtu", "rp-filter", "forwarding-off", "dns", "cpu-pressure",
    "clock", "settings",
)  # fmt: skip


def measure_suspects(report: Report) -> None:
    """Added CPU time of the default window, median of pairs; and how the pairs differ."""
    before = [rule for rule in catalogue() if rule not in SUSPECTS]
    with environments() as (_, warm), crowd(NAMESPACES, SOCKETS_EACH, UNREAD_EVERY):
        report.heading(
            f"{NAMESPACES * SOCKETS_EACH:,} TCP sockets in {NAMESPACES} network namespaces, the default window"
        )
        pairs = [(cpu_seconds(diagnosis(before), warm), cpu_seconds(diagnosis(()), warm)) for _ in range(PAIRS)]
    added = sorted(every - without for without, every in pairs)
    report.seconds("CPU time without the usual suspects", statistics.median(without for without, _ in pairs))
    report.seconds("CPU time with all rules", statistics.median(every for _, every in pairs))
    report.seconds("CPU time that they add, median", statistics.median(added), LIMIT_SECONDS)
    report.seconds("CPU time that they add, most", added[-1])


def diagnosis(only: Sequence[str]) -> list[str]:
    chosen = [word for rule in only for word in ("--only", rule)]
    return [*WHODUNNET, "diagnose", "--format", "json", *chosen]


def cpu_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Of the process, in user mode and in the kernel. Raises ChildProcessError if it fails."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in EXPECTED:
        raise ChildProcessError(f"{' '.join(command)} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    one = Report()
    measure_suspects(one)
    print(one.table())
    sys.exit(any(row.met is False for row in one.rows))
