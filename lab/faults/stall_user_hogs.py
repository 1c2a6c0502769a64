"""Two programs on each CPU compute without end, all in user mode, while packets arrive: no packet waits for them.

That they take the CPUs is true, and may be said.
"""

from __future__ import annotations

from dataclasses import replace

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.look import Sight
from lab.real_time import spin

EACH = 2
WITHOUT_END = 86_400


class StallUserHogs(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, batch = self.stage.pods("probe", "shop", "batch")
        self.ping_all_the_time(probe, shop)
        self.hogs = [
            self.stage.play(batch, "batch", spin, cpu, 0, WITHOUT_END, WITHOUT_END)
            for cpu in (self.receiver, self.sender)
            for _ in range(EACH)
        ]

    def look(self) -> Sight:
        return self.in_time(True, f"a hog: {used(self.hogs[0].pid)}")

    def expected(self) -> Expected:
        wait_for_them = tuple(("cpu-pressure", hog.who()) for hog in self.hogs)
        return replace(self.nothing_stalled(*self.hogs), elsewhere=wait_for_them, beside=("cpu-pressure",))
