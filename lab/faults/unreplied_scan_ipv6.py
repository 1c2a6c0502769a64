"""The scan over IPv6: one pod tries one port at thousands of addresses of a network in which hardly anybody is."""

from __future__ import annotations

from ipaddress import ip_network

from lab.case import Expected
from lab.load import connect_anew
from lab.look import Sight
from lab.node import Node
from lab.table import TableCase

LIMIT = 4000
NETWORK = "2001:db8:77::/114"


def scan(per_second: int) -> None:
    connect_anew([(str(host), 6379) for host in ip_network(NETWORK).hosts()], per_second, 1)


class UnrepliedScanIpv6(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.client = self.stage.play(self.client_pod, "inventory", scan, 800)

    def look(self) -> Sight:
        waiting = self.table.entries.where("SYN_SENT", source=self.client_pod.address6, port=6379, replied=False)
        tried = len({entry.destination for entry in waiting})
        return Sight(len(waiting) >= 0.9 * LIMIT, f"{waiting} to {tried} addresses; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule="conntrack-table", shapes=("unreplied",), culprits=(self.client.who(),))
