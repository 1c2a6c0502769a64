"""A node whose policy controller forbids 20,000 pods and ports, in a set: the kernel looks each packet up once.

The same prohibitions as lines, tried one by one, would keep the packets of a CPU waiting for tens of milliseconds. The
ruleset prints as long, a pod sends its bursts of small packets through it, and all of that is one rule and one hash.
"""

from __future__ import annotations

import subprocess

from lab.arrivals import StallCase, steer
from lab.case import Expected
from lab.datagrams import counters
from lab.look import Sight
from lab.node import Node
from lab.slow_filter import send_bursts, take
from lab.stage import Pod

FORBIDDEN = 20_000
PACKETS, EVERY_SECONDS = 60, 0.2
TABLE = """
table ip forbidding {{
    set forbidden {{
        type ipv4_addr . inet_service
        elements = {{ {elements} }}
    }}
    chain pods {{
        type filter hook forward priority 0;
        ip saddr . udp dport @forbidden counter drop
    }}
}}
"""


def forbid(place: Pod) -> None:
    elements = ", ".join(f"10.200.{n // 250}.{n % 250 + 1} . {1 + n % 5000}" for n in range(FORBIDDEN))
    command = ["nsenter", f"--net={place.netns}", "nft", "-f", "-"]
    subprocess.run(command, check=True, capture_output=True, input=TABLE.format(elements=elements), text=True)


class StallLongSetOfAddresses(StallCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop", "meter")
        forbid(self.node.host)
        probe, shop, meter = self.node.pods
        self.ping_all_the_time(probe, shop)
        for device in ("veth1", "veth3"):
            steer(self.node.host, device, self.receiver)
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def look(self) -> Sight:
        came = counters(self.pinged)
        return self.in_time(came.read > 20 * PACKETS and not came.no_room, str(came))

    def expected(self) -> Expected:
        return self.nothing_stalled(self.meter, self.taker)
