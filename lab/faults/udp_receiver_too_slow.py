"""A collector of log lines that reads ten datagrams a second, with a small buffer, and is sent hundreds.

Beside it one of the same kind reads as they come.
"""

from __future__ import annotations

import socket
import time

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import counter
from lab.look import Sight

PORT = 5514


def gather(pause: float) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    receiver.bind(("", PORT))
    while True:
        receiver.recv(2_000)
        time.sleep(pause)


def send(*addresses: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in every(0.005, times=60_000):
            for address in addresses:
                sender.sendto(b"<14>" + bytes(400), (address, PORT))


class UdpReceiverTooSlow(Case):
    kind = "fault"
    rules = QUEUE_RULES
    age_seconds = 0

    def start(self) -> None:
        self.senders, self.slow_pod, self.quick_pod = self.stage.pods("web", "slow", "quick")
        self.slow = self.stage.play(self.slow_pod, "slow-log", gather, 0.1)
        self.other = self.stage.play(self.quick_pod, "quick-log", gather, 0)
        self.sender = self.stage.play(self.senders, "web", send, self.slow_pod.address, self.quick_pod.address)

    def look(self) -> Sight:
        dropped, others = (counter(pod.netns, "RcvbufErrors") for pod in (self.slow_pod, self.quick_pod))
        return Sight(dropped >= 100 > others, f"{dropped} datagrams dropped here, {others} there")

    def expected(self) -> Expected:
        return Expected(
            rule="udp-buffers",
            shapes=("receiver-slow",),
            culprits=(self.slow.who(),),
            innocent=(self.other.who(), self.sender.who()),
            bystanders=(self.other.who(),),
        )
