"""Somebody set net.core.netdev_max_backlog to 64: bursts of nine hundred small packets find no room, and most are lost.

A packet is received a little slower than it is sent, by a filter of a few thousand rules; the kernel's own 1,000
would hold a burst. The CPU that receives them rests most of the time. Neither sender nor receiver ever learns of it.
"""

from __future__ import annotations

from lab import host
from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import Expected
from lab.datagrams import counters, softnet_drops
from lab.look import Sight
from lab.slow_filter import filter_slowly, send_bursts, sent, take

RULES = 2_400
BACKLOG = 64
PACKETS, EVERY_SECONDS = 900, 0.1
ROOM_BYTES = 8 << 20
"""Of the collector, which is to lose nothing itself."""

LOST = 0.2
"""Of what was sent, at least."""


class SoftnetSmallBacklog(StallCase):
    kind = "fault"
    changes_global = True

    def start(self) -> None:
        probe, shop, meter = self.stage.pods("probe", "shop", "meter")
        filter_slowly(shop, "input", RULES)
        self.ping_all_the_time(probe, shop)
        self.stage.undo.enter_context(host.changed(host.BACKLOG, str(BACKLOG)))
        self.before = softnet_drops()
        self.taker = self.stage.play(shop, "collector", take, self.sender, ROOM_BYTES)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        asked, came, dropped = sent(self.meter), counters(self.pinged), softnet_drops() - self.before
        lost = asked - came.read - came.no_room
        seen = f"{asked} sent; {came}; {dropped} packets without room on a CPU; {self.pings}"
        return Sight(min(dropped, lost) > LOST * asked > 0, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="softnet-drops",
            also=self.paused,
            loosened=bool(self.paused),
            inapplicable=ONE_QUEUE,
            severities=("warning", "critical"),
            innocent=(self.meter.who(), self.taker.who(), self.pinger.who()),
        )
