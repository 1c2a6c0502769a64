"""A collector that lost two thousand datagrams while it started, and has read every one since.

The counters of its socket and of its pod say for ever what was lost, its buffer is small, and datagrams still come.
Whoever reads totals (netstat -su, the drops in ss) takes it for a receiver that is too slow.
"""

from __future__ import annotations

import socket
import time

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.datagrams import Counters, counters
from lab.look import Sight

PORT, BURST = 5514, 2500


def gather() -> None:
    """It reads its configuration first, for two seconds."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    receiver.bind(("", PORT))
    time.sleep(2)
    while receiver.recv(2_000):
        pass


def send(address: str) -> None:
    """What had been kept until the collector was there, and then a hundred lines a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        time.sleep(1)
        for _ in range(BURST):
            sender.sendto(b"<14>" + bytes(400), (address, PORT))
        for _ in every(0.01, times=60_000):
            sender.sendto(b"<14>" + bytes(400), (address, PORT))


class UdpLostABurstBefore(Case):
    kind = "look-alike"
    rules = QUEUE_RULES
    rules_unread = True
    age_seconds = 5

    def start(self) -> None:
        client, self.pod = self.stage.pods("client", "collector")
        self.last = Counters(0, 0)
        self.collector = self.stage.play(self.pod, "collector", gather)
        self.client = self.stage.play(client, "web", send, self.pod.address)

    def look(self) -> Sight:
        last, self.last = self.last, counters(self.pod)
        there = last.no_room == self.last.no_room >= 2000 and self.last.read > last.read + 10
        return Sight(there, f"{self.last}, a moment before {last}")

    def expected(self) -> Expected:
        parts = (self.collector.who(), self.client.who())
        return Expected(rule=None, cleared=("udp-buffers",), innocent=parts, bystanders=parts)
