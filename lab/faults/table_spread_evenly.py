"""A full table that is nobody's fault: ten pods open about as many connections each. It is too small for this node."""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase

LIMIT = 4000
PODS = 10
SERVERS = ("203.0.113.80", "203.0.113.81", "203.0.113.82")


class TableSpreadEvenly(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, *(f"client{n}" for n in range(PODS)))
        self.stage.conntrack_max(LIMIT)
        self.server = nginx(self.stage, self.node.outside)
        self.clients = [
            self.stage.play(pod, f"service-{n}", ask_anew, SERVERS[n % len(SERVERS)], 80, 80)
            for n, pod in enumerate(self.node.pods)
        ]

    def look(self) -> Sight:
        entries = self.table.entries
        shares = [len(entries.where(source=pod.address)) for pod in self.node.pods]
        there = self.table.count >= 0.9 * LIMIT and self.table.statistics["drop"] > 0
        return Sight(there, f"{self.table}; by pod: {shares}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("critical",),
            shapes=("spread",),
            innocent=(self.server.who(), *(client.who() for client in self.clients)),
        )
