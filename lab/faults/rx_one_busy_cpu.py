"""One CPU receives all that comes to a pod, 20,000 packets a second, and is busy with it; the other is nearly idle.

The device has one receive queue, as those of pods have: there is nothing to be spread over, and no packet waits long.
"""

from __future__ import annotations

from pathlib import Path

from lab.arrivals import StallCase
from lab.case import Expected
from lab.datagrams import counters, softnet_drops
from lab.look import Sight
from lab.slow_filter import filter_slowly, send_bursts, take

RULES = 600
PACKETS, EVERY_SECONDS = 20, 0.001


def softirq_seconds(cpu: int) -> float:
    line = next(x for x in Path("/proc/stat").read_text().splitlines() if x.startswith(f"cpu{cpu} "))
    return int(line.split()[7]) / 100


class RxOneBusyCpu(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, meter = self.stage.pods("probe", "shop", "meter")
        filter_slowly(shop, "input", RULES)
        self.ping_all_the_time(probe, shop)
        self.begin = {cpu: softirq_seconds(cpu) for cpu in (self.receiver, self.sender)}
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        here, there = (softirq_seconds(cpu) - before for cpu, before in self.begin.items())
        came, self.dropped = counters(self.pinged), softnet_drops()
        seen = f"{came}; softirqs of the receiving CPU {here:.1f} s, of the other {there:.1f} s"
        return self.in_time(came.read > 10_000 and here > 2 * there, seen)

    def expected(self) -> Expected:
        """A pause of the machine makes a flood overflow: what was dropped in fact may be said."""
        dropped = softnet_drops() > self.dropped
        return self.nothing_stalled(self.meter, self.taker, also=("softnet-drops",) if dropped else ())
