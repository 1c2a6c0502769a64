"""A name server that is asked 150 things at once, twice a second: its buffer has room for all of them.

So has that of the crawler for the answers, which it reads a turn later.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Case, Expected
from lab.datagrams import counters
from lab.faults.udp_name_server_stopped import ask_on
from lab.look import Sight
from lab.servers import dnsmasq

BURST = 150


class UdpBurstsThatFit(Case):
    kind = "look-alike"
    rules = QUEUE_RULES
    age_seconds = 0

    def start(self) -> None:
        self.client_pod, self.dns_pod = self.stage.pods("client", "dns")
        self.dns = dnsmasq(self.stage, self.dns_pod)
        self.client = self.stage.play(self.client_pod, "crawler", ask_on, self.dns_pod.address, BURST, 0.5)

    def look(self) -> Sight:
        asked, answered = counters(self.dns_pod), counters(self.client_pod)
        there = min(asked.read, answered.read) >= 4 * BURST and asked.no_room == answered.no_room == 0
        return Sight(there, f"questions: {asked}, answers: {answered}")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.dns.who())
        return Expected(rule=None, cleared=("udp-buffers",), innocent=parts, bystanders=parts)
