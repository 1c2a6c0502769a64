"""A collector of metrics loses half of what it is sent, because a log shipper in its container uses up the CPU quota.

The collector reads whatever is there, needs a fiftieth of a CPU, and its buffer has room for 40 ms. But the two share a
fifth of a CPU: the shipper has used that after 20 ms of each 100 ms, and then both stand still while the CPUs are idle.
By its socket the collector is a receiver that is too slow; a larger buffer would only hide for how long it may not run.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected, Named
from lab.cpu_hogs import times
from lab.cpu_quota import Quota, work
from lab.datagrams import counters
from lab.look import Sight

PORT, BUFFER_BYTES, AT_ONCE = 8125, 16_384, 10


def collect() -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    receiver.bind(("", PORT))
    while receiver.recv(2_000):
        pass


def ship() -> None:
    """A day of logs has to be compressed."""
    while True:
        work(1)


def measure(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in every(0.01, times=1_000_000):
            for _ in range(AT_ONCE):
                sender.sendto(b"shop.orders:1|c\n" * 20, (address, PORT))


class UdpCollectorStarvedBySidecar(Case):
    kind = "fault"
    rules = (*QUEUE_RULES, "cpu-throttled")
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, self.pod = self.stage.pods("client", "metrics")
        self.quota = Quota(self.stage, cpus=0.2)
        self.collector = self.stage.play(self.pod, "collector", collect)
        self.shipper = self.stage.play(self.pod, "log-shipper", ship)
        for player in (self.collector, self.shipper):
            self.quota.take(player)
        self.client = self.stage.play(client, "web", measure, self.pod.address)

    def look(self) -> Sight:
        (needs, _), (uses, _) = times(self.collector.pid), times(self.shipper.pid)
        seen, throttled = counters(self.pod), self.quota.throttled()
        there = seen.no_room >= 500 and seen.read >= 500 and throttled > 20 and uses > 1 and uses > 3 * needs
        return Sight(there, f"{seen}; throttled {throttled} times; ran: collector {needs:.2f} s, shipper {uses:.2f} s")

    def expected(self) -> Expected:
        return Expected(
            rule="cpu-throttled",
            also=("udp-buffers",),
            severities=("warning", "critical"),
            tolerated=(self.shipper.who(),),
            innocent=(self.collector.who(), self.client.who()),
            others=(
                Named(self.collector.who(), ("victim", "reader", "holder")),
                Named(self.shipper.who(), ("culprit", "holder")),
            ),
        )
