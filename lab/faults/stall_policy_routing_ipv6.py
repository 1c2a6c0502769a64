"""A node of IPv6 with a routing rule for each pod that was ever there: pings of ICMPv6 wait, as in incident 2.

The kernel goes through all twenty thousand rules (ip -6 rule) for each packet that it forwards. A meter sends two
hundred small packets five times a second, and while the softirq works on them all other packets of that CPU wait. No
task holds the CPU, and no packet here is one of IPv4.
"""

from __future__ import annotations

from lab.arrivals import StallCase, steer
from lab.case import Expected
from lab.look import Sight
from lab.node import Node
from lab.slow_filter import send_bursts, take
from lab.stage import inside

RULES, PACKETS, EVERY_SECONDS = 20_000, 200, 0.2
RULE = "rule add from fd10::{:x} lookup 100\n"


class StallPolicyRoutingIpv6(StallCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop", "meter", firewall="none")
        rules = self.stage.directory / "rules"
        rules.write_text("".join(RULE.format(n + 1) for n in range(RULES)))
        inside(self.node.host, "ip", "-6", "-batch", str(rules))
        probe, shop, meter = self.node.pods
        self.ping_all_the_time(probe, shop, six=True)
        for device in ("veth1", "veth3"):
            steer(self.node.host, device, self.receiver)
        self.taker = self.stage.play(shop, "collector", take, self.sender, 0, "::")
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address6, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        return self.late(at_least=10, seconds=0.02, seen=f"meter: {self.meter.log.read_text().splitlines()[-1:]}")

    def expected(self) -> Expected:
        return self.stalled("softirq-hog", innocent=(self.meter, self.taker))
