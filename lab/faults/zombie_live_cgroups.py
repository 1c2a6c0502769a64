"""A node with three thousand memory cgroups, all of them alive, and a monitor that reads memory.stat: none is dying."""

from __future__ import annotations

from lab.arrivals import StallCase
from lab.case import Expected
from lab.look import Sight
from lab.memory_cgroups import Parent, live_and_known, make, read_again_and_again

CGROUPS = 3000


class ZombieLiveCgroups(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, monitor = self.stage.pods("probe", "shop", "monitor")
        self.ping_all_the_time(probe, shop)
        self.parent = Parent(self.stage)
        self.maker = self.stage.play(probe, "runtime", make, str(self.parent.place), CGROUPS)
        self.monitor = self.stage.play(monitor, "cadvisor", read_again_and_again, 0.1)

    def look(self) -> Sight:
        live, known = live_and_known()
        return self.in_time(live >= CGROUPS, f"{live} memory cgroups live, {known} known")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.maker, self.monitor)
