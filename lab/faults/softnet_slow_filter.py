"""Bursts of three thousand packets meet a filter of 20,000 rules: the CPU cannot keep up, and its backlog is full.

What came first is received a second late, and what finds no room is lost. The sender is on the same machine, but sends
no more than a burst of logs.
"""

from __future__ import annotations

from lab.arrivals import ONE_QUEUE, StallCase
from lab.case import Expected
from lab.datagrams import counters, softnet_drops
from lab.look import PATIENCE, Sight
from lab.slow_filter import filter_slowly, send_bursts, sent, take

RULES = int(20_000 / PATIENCE)
PACKETS, EVERY_SECONDS = 3000, 2
LOST = 0.2
"""Of what was sent, at least."""


class SoftnetSlowFilter(StallCase):
    kind = "fault"

    def start(self) -> None:
        probe, shop, meter = self.stage.pods("probe", "shop", "meter")
        filter_slowly(shop, "input", RULES)
        self.ping_all_the_time(probe, shop)
        self.before = softnet_drops()
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        asked, came, dropped = sent(self.meter), counters(self.pinged), softnet_drops() - self.before
        lost = asked - came.read - came.no_room
        seen = f"{asked} sent; {came}; {dropped} packets without room on a CPU; {self.pings}"
        return Sight(min(dropped, lost) > LOST * asked > 0, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="softnet-drops",
            also=("rx-stall",),
            inapplicable=ONE_QUEUE,
            severities=("warning", "critical"),
            innocent=(self.meter.who(), self.taker.who(), self.pinger.who()),
        )
