"""A backup fills the queue before its pod's device, and pings wait there with it for more than a tenth of a second.

Late answers in runs, as in incident 2, and yet no CPU is late: the queue is before the device that sends (bufferbloat),
and a packet waits its turn as the link's rate has it. Beside it a monitor computes, which has no part in it either.
"""

from __future__ import annotations

import time

from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import Expected
from lab.cpu_quota import work
from lab.look import Sight
from lab.transfers import stream, take


def compute_now_and_then() -> None:
    while True:
        work(0.02)
        time.sleep(0.1)


class StallFullLink(StallCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        probe, shop, monitor = self.stage.pods("probe", "shop", "monitor")
        self.stage.slow(probe, "20mbit")
        self.store = self.stage.play(shop, "store", take)
        self.ping_all_the_time(probe, shop)
        self.monitor = self.stage.play(monitor, "monitor", compute_now_and_then)
        self.backup = self.stage.play(probe, "backup", stream, [shop.address], 6, 500_000, 0)

    def look(self) -> Sight:
        sight = self.pings
        return Sight(sight.stalled >= 50 and sight.longest >= 0.1, str(sight))

    def expected(self) -> Expected:
        innocent = (self.pinger, self.backup, self.store, self.monitor)
        parts = tuple(player.who() for player in innocent)
        return Expected(
            rule=None,
            cleared=("rx-stall",),
            inapplicable=ONE_QUEUE,
            innocent=parts,
            bystanders=parts,
        )
