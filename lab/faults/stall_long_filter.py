"""A node whose policy controller has written 20,000 rules, which the kernel tries one by one on each packet of a pod.

A pod sends two hundred small packets five times a second, which is nothing. The kernel takes up to 64 of them in one
go, and for that long the softirq does not end: all other packets of that CPU wait. No task holds the CPU.
"""

from __future__ import annotations

from dataclasses import replace

from lab.arrivals import StallCase, steer
from lab.case import Expected
from lab.datagrams import softnet_drops
from lab.look import Sight
from lab.node import Node
from lab.slow_filter import filter_slowly, send_bursts, take

RULES = 20_000
PACKETS, EVERY_SECONDS = 200, 0.2


class StallLongFilter(StallCase):
    kind = "fault"

    def start(self) -> None:
        self.dropped = softnet_drops()
        self.node = self.slow_node()
        probe, shop, meter = self.node.pods
        self.ping_all_the_time(probe, shop)
        for device in ("veth1", "veth3"):
            steer(self.node.host, device, self.receiver)
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)

    def slow_node(self) -> Node:
        """One that works for long on each packet that it forwards."""
        node = Node(self.stage, "probe", "shop", "meter")
        filter_slowly(node.host, "forward", RULES)
        return node

    def look(self) -> Sight:
        return self.late(at_least=10, seconds=0.02, seen=f"meter: {self.meter.log.read_text().splitlines()[-1:]}")

    def expected(self) -> Expected:
        # A slow CPU has no time for anything else, and its queue overflows.
        also = ("softnet-drops",) if softnet_drops() > self.dropped else ()
        return replace(self.stalled("softirq-hog", innocent=(self.meter, self.taker)), also=also)
