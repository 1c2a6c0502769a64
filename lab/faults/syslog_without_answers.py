"""Syslog over UDP, a new socket for each line: a receiver never answers, so every entry is unreplied. So it has to be.

Forty lines a second leave twelve hundred entries for half a minute each: a quarter of this table, and no more.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import Expected
from lab.look import Sight
from lab.node import Node
from lab.table import TableCase

LIMIT = 5000
RECEIVER = "203.0.113.14"


def send(address: str, per_second: int) -> None:
    for number in every(1 / per_second, times=1_000_000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(f"<134>shop: order {number}".encode(), (address, 514))


def receive() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((RECEIVER, 514))
        while receiver.recv(65536):
            pass


class SyslogWithoutAnswers(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.receiver = self.stage.play(self.node.outside, "syslogd", receive)
        self.client = self.stage.play(self.client_pod, "shop", send, RECEIVER, 40)

    def look(self) -> Sight:
        sent = self.table.entries.where(destination=RECEIVER, port=514, replied=False)
        return Sight(len(sent) >= 150, f"{sent}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.receiver.who(), self.client.who()))
