"""A scan: one pod tries one port at thousands of addresses, of which hardly any answers, and so fills the table."""

from __future__ import annotations

from ipaddress import ip_network

from lab.case import Expected
from lab.load import connect_anew
from lab.look import Sight
from lab.node import Node
from lab.table import TableCase

LIMIT = 4000
NETWORK = "10.80.0.0/18"


def scan(per_second: int) -> None:
    connect_anew([(str(host), 6379) for host in ip_network(NETWORK).hosts()], per_second, 1)


class UnrepliedScan(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.client = self.stage.play(self.client_pod, "inventory", scan, 800)

    def look(self) -> Sight:
        waiting = self.table.entries.where("SYN_SENT", port=6379, replied=False)
        tried = len({entry.destination for entry in waiting})
        return Sight(len(waiting) >= 0.9 * LIMIT, f"{waiting} to {tried} addresses; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule="conntrack-table", shapes=("unreplied",), culprits=(self.client.who(),))
