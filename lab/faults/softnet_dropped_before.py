"""Packets found no room on a CPU, some time ago: the counter says so for ever, and nothing is lost now."""

from __future__ import annotations

from lab.arrivals import StallCase
from lab.case import Expected
from lab.datagrams import softnet_drops
from lab.look import PATIENCE, NotThereError, Sight
from lab.slow_filter import filter_slowly, send_bursts, sent, unfilter

RULES, PACKETS = int(20_000 / PATIENCE), 3000
LONG = 86_400


class SoftnetDroppedBefore(StallCase):
    kind = "look-alike"
    age_seconds = 5

    def start(self) -> None:
        probe, shop, meter = self.stage.pods("probe", "shop", "meter")
        filter_slowly(shop, "input", RULES)
        self.ping_all_the_time(probe, shop)
        self.before = self.last = softnet_drops()
        self.gone = False
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, LONG, self.sender)

    def look(self) -> Sight:
        """Once it has dropped, the filter goes."""
        last, self.last = self.last, softnet_drops()
        dropped = self.last - self.before
        if sent(self.meter) and dropped and not self.gone:
            unfilter(self.pinged)
            self.gone = True
        return self.in_time(dropped > 500 and self.last == last, f"{dropped} packets were dropped")

    def expected(self) -> Expected:
        if softnet_drops() != self.last:
            raise NotThereError("packets have been dropped meanwhile")
        return self.nothing_stalled(self.meter)
