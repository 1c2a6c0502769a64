"""A node with a routing rule for each pod that was ever there, twenty thousand of them, which nobody has cleaned up.

The kernel goes through them one by one for each packet that it forwards (ip rule; some network plugins write one for
each pod). A meter sends two hundred small packets five times a second, and while the softirq works on them all other
packets of that CPU wait. There is no firewall, and no task holds the CPU.
"""

from __future__ import annotations

from dataclasses import replace

from lab.arrivals import StallCase, steer
from lab.case import Expected
from lab.look import Sight
from lab.node import Node
from lab.slow_filter import send_bursts, take
from lab.stage import inside

RULES = 20_000
PACKETS, EVERY_SECONDS = 200, 0.2
RULE = "rule add from 10.{}.{}.{} lookup 100\n"


class StallPolicyRouting(StallCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop", "meter", firewall="none")
        probe, shop, meter = self.node.pods
        rules = self.stage.directory / "rules"
        rules.write_text("".join(RULE.format(200 + n // 62500, n // 250 % 250, n % 250 + 1) for n in range(RULES)))
        inside(self.node.host, "ip", "-batch", str(rules))
        self.ping_all_the_time(probe, shop)
        for device in ("veth1", "veth3"):
            steer(self.node.host, device, self.receiver)
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        return self.late(at_least=10, seconds=0.02, seen=f"meter: {self.meter.log.read_text().splitlines()[-1:]}")

    def expected(self) -> Expected:
        return replace(self.stalled("softirq-hog", innocent=(self.meter, self.taker)), mentions=("fib",))
