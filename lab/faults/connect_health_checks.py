"""A health check of a port on which nothing listens yet, every other second, beside callers who are all answered."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


class ConnectHealthChecks(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.prober = self.stage.play(self.node.host, "prober", call, [(server.address, 8081)], 0.5, 1)
        self.client = self.stage.play(client, "browser", call, [(server.address, 80)], 20, 2)

    def look(self) -> Sight:
        checks, made = calls(self.prober), calls(self.client)
        there = checks.share("ECONNREFUSED") == made.share(ANSWERED) == 1
        return Sight(there, f"prober: {checks}; browser: {made}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.prober.who(), self.client.who(), self.server.who()))
