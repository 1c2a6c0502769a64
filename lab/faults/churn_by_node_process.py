"""A program of the node itself opens a connection for each request.

It has the node's address, as another program has which keeps its connections; only the sockets tell the two apart.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew, keep_busy
from lab.look import Sight
from lab.node import NODE
from lab.table import TableCase, full_of_churn

LIMIT = 4000
SERVER, API = "203.0.113.80", "203.0.113.81"


class ChurnByNodeProcess(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.furnish(LIMIT, "idle")
        self.agent = self.stage.play(self.node.host, "node-agent", keep_busy, API, 80, 100, 2)
        self.client = self.stage.play(self.node.host, "log-shipper", ask_anew, SERVER, 80, 800)

    def look(self) -> Sight:
        own = self.table.entries.where("TIME_WAIT", source=NODE, destination=SERVER)
        there = len(own) >= 0.8 * LIMIT and self.table.statistics["drop"] > 0
        return Sight(there, f"{self.table}; in TIME_WAIT to {SERVER}: {len(own)}")

    def expected(self) -> Expected:
        return full_of_churn((self.client.who(),), (self.server.who(), self.agent.who()), endpoint=(SERVER, 80))
