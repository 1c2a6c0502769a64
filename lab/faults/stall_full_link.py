"""A backup fills the queue before its pod's device, and pings wait there with it for more than a tenth of a second.

Late answers in runs, as in incident 2, and yet no CPU is late: the queue is before the device that sends (bufferbloat),
and a packet waits its turn as the link's rate has it. Beside it a monitor computes, which has no part in it either.
"""

from __future__ import annotations

import time
from pathlib import Path

from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import Expected
from lab.cpu_quota import work
from lab.look import Sight
from lab.transfers import stream, take


def compute_now_and_then() -> None:
    while True:
        work(0.02)
        time.sleep(0.1)


def stolen() -> int:
    """Ticks in which the machine under this one ran something else, as the kernel counts them."""
    return int(Path("/proc/stat").read_text().split()[8])


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
        sight, self.stolen_before = self.pings, stolen()
        return Sight(sight.stalled >= 50 and sight.longest >= 0.1, str(sight))

    def expected(self) -> Expected:
        innocent = (self.pinger, self.backup, self.store, self.monitor)
        parts = tuple(player.who() for player in innocent)
        late = ("rx-stall",)
        paused = stolen() > self.stolen_before
        return Expected(
            rule=None,
            also=late if paused else (),
            cleared=() if paused else late,
            inapplicable=ONE_QUEUE,
            innocent=parts,
            bystanders=parts,
        )
