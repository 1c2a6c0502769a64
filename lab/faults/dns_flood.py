"""A program that looks up the same name hundreds of times a second, each time from a socket of its own.

It asks the cluster's DNS by the Service's address, and every question is answered; each leaves an entry for half a
minute. The DNS server has the other end of all of them.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import look_up
from lab.look import Sight
from lab.node import Node
from lab.servers import dnsmasq
from lab.table import TableCase

LIMIT = 4000
DNS = "10.96.0.10"


class DnsFlood(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "dns")
        self.client_pod, self.dns_pod = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.dns = dnsmasq(self.stage, self.dns_pod)
        self.node.service(DNS, 53, (self.dns_pod.address, 53), protocol="udp")
        self.client = self.stage.play(self.client_pod, "crawler", look_up, DNS, 1000)

    def look(self) -> Sight:
        asked = self.table.entries.where(source=self.client_pod.address, destination=DNS, port=53, replied=True)
        return Sight(len(asked) >= 0.9 * LIMIT, f"{asked}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            shapes=("dns",),
            culprits=(self.client.who(),),
            innocent=(self.dns.who(),),
            endpoint=(DNS, 53),
        )
