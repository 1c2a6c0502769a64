"""Three thousand containers came and went, and left a file each in a volume in memory: their memory cgroups go on.

A monitor reads the root's memory.stat ten times a second. On older kernels each read walks all of them; this one sums
up as it goes, so that nothing waits: worth knowing, no more.
"""

from __future__ import annotations

import re

from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import Expected
from lab.look import Sight
from lab.memory_cgroups import Parent, live_and_known, read_again_and_again, runtime

CGROUPS = 3000


class ZombieManyCgroups(StallCase):
    kind = "fault"

    def start(self) -> None:
        probe, shop, monitor = self.stage.pods("probe", "shop", "monitor")
        self.ping_all_the_time(probe, shop)
        self.parent = Parent(self.stage)
        self.maker = runtime(self.stage, probe, self.parent, CGROUPS)
        self.monitor = self.stage.play(monitor, "cadvisor", read_again_and_again, 0.1)

    def look(self) -> Sight:
        live, known = live_and_known()
        reads = re.findall(r"^read (\S+) ms$", self.monitor.log.read_text(), re.MULTILINE)
        seen = f"{live} memory cgroups live, {known} known; reads {reads[-3:]} ms; {self.pings}"
        return Sight("deleted" in self.maker.log.read_text() and known - live >= CGROUPS, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="zombie-cgroups",
            also=self.paused,
            loosened=bool(self.paused),
            cleared=() if self.paused else ("rx-stall",),
            inapplicable=ONE_QUEUE,
            severities=("info",),
            innocent=(self.monitor.who(), self.maker.who(), self.pinger.who()),
        )
