"""Two programs on each CPU live in the kernel, one short system call after the other: files looked at, numbers read.

Much time in the kernel is not a long time at once.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.look import Sight

EACH = 2


def call_without_end(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    own, place = Path("/proc/self/stat"), Path("/etc")
    while True:
        for _ in range(100):
            os.getppid()
            place.stat()
        own.read_bytes()


class StallManyShortCalls(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, batch = self.stage.pods("probe", "shop", "batch")
        self.ping_all_the_time(probe, shop)
        self.callers = [
            self.stage.play(batch, "indexer", call_without_end, cpu)
            for cpu in (self.receiver, self.sender)
            for _ in range(EACH)
        ]

    def look(self) -> Sight:
        return self.in_time(True, f"an indexer: {used(self.callers[0].pid)}")

    def expected(self) -> Expected:
        """Two on each CPU use all of it, which may be said of them."""
        wait_for_them = tuple(("cpu-pressure", caller.who()) for caller in self.callers)
        return replace(self.nothing_stalled(*self.callers), elsewhere=wait_for_them, beside=("cpu-pressure",))
