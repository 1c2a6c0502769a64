"""The same crawler and unbound, and always the same name: unbound knows the answer, and asks nobody outside.

As many questions as in the flood, from one socket and so in one entry: the table is as good as empty.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from lab.actor import every, rest
from lab.case import Expected
from lab.faults.dns_flood_by_forwarder import LIMIT, question
from lab.look import Sight
from lab.node import OUTSIDE, Node
from lab.servers import dnsmasq, unbound
from lab.table import TableCase


def ask_one_name(address: str, per_second: int) -> None:
    """A line for each thousand answers."""
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect((address, 53))
        for _ in every(1 / per_second, times=1_000_000):
            asker.send(question(b"shop"))
            with suppress(BlockingIOError):
                while asker.recv(512, socket.MSG_DONTWAIT):
                    answered += 1
                    if answered % 1000 == 0:
                        print(f"{answered} answers", flush=True)
    rest()


class DnsAnsweredFromCache(TableCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "crawler", "resolver")
        self.client_pod, self.resolver_pod = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.far = dnsmasq(self.stage, self.node.outside, "--address=/#/10.1.2.3", "--local-ttl=600")
        self.resolver = unbound(self.stage, self.resolver_pod, OUTSIDE)
        self.client = self.stage.play(self.client_pod, "crawler", ask_one_name, self.resolver_pod.address, 800)

    def look(self) -> Sight:
        answers = self.client.log.read_text().splitlines()[-1:]
        there = len(self.client.log.read_text().splitlines()) >= 5 and self.table.count < 100
        return Sight(there, f"{answers}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.resolver.who(), self.far.who()))
