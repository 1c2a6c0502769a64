"""All that pods receive is received by one CPU, by a setting (rps_cpus), and it cannot keep up; the other one is idle.

A network policy of twenty thousand rules makes each packet of a meter expensive. A shop in another pod has no such
policy and ten requests a second, and suffers all the same: its packets stand in the same CPU's backlog, or find no room
there. Over all CPUs the machine is half idle, and neither shop nor caller do anything wrong.
"""

from __future__ import annotations

from pathlib import Path

from lab.arrivals import ONE_QUEUE, StallCase, steer
from lab.case import Expected
from lab.connects import ANSWERED, STEP_SECONDS, call, calls
from lab.datagrams import softnet_drops
from lab.look import Sight
from lab.servers import nginx
from lab.slow_filter import filter_slowly, send_bursts, take

RULES = 20_000
PACKETS, EVERY_SECONDS = 10, 0.001
SPARE, SOFTIRQ = (1, 3, 4), (6,)
"""Columns of a line of /proc/stat (proc_stat(5)), without its name: nice and idle, and softirqs."""


def share(cpu: int, columns: tuple[int, ...], before: list[int]) -> float:
    """Of the time since then."""
    passed = [now - then for now, then in zip(ticks(cpu), before, strict=True)]
    return sum(passed[column] for column in columns) / max(sum(passed), 1)


def ticks(cpu: int) -> list[int]:
    line = next(x for x in Path("/proc/stat").read_text().splitlines() if x.startswith(f"cpu{cpu} "))
    return [int(word) for word in line.split()[1:9]]


class RxAllOnOneCpu(StallCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        probe, shop, metrics, meter = self.stage.pods("probe", "shop", "metrics", "meter")
        filter_slowly(metrics, "input", RULES)
        self.server = nginx(self.stage, shop)
        self.ping_all_the_time(probe, shop)
        steer(metrics, "eth0", self.receiver)
        self.caller = self.stage.play(probe, "checkout", call, [(shop.address, 80)], 10, 2)
        self.taker = self.stage.play(metrics, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, metrics.address, PACKETS, EVERY_SECONDS, self.sender)
        self.before = {cpu: ticks(cpu) for cpu in (self.receiver, self.sender)}
        self.dropped_before = softnet_drops()

    def look(self) -> Sight:
        busy = share(self.receiver, SOFTIRQ, self.before[self.receiver])
        spare = share(self.sender, SPARE, self.before[self.sender])
        made, dropped = calls(self.caller), softnet_drops() - self.dropped_before
        bad = len(made) - len(made.where(ANSWERED)) + len(made.where(ANSWERED, at_least_seconds=STEP_SECONDS))
        seen = f"softirqs have {busy:.0%} of the receiving CPU, the other has {spare:.0%} to spare"
        seen += f"; {dropped} packets without room; {made}; {self.pings}"
        return Sight(busy > 0.7 and spare > 0.4 and dropped > 1000 and bad >= 10, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="softnet-drops",
            also=("rx-stall", "rx-imbalance"),
            inapplicable=ONE_QUEUE,
            severities=("warning", "critical"),
            tolerated=(self.meter.who(),),
            innocent=tuple(one.who() for one in (self.server, self.caller, self.taker, self.pinger)),
        )
