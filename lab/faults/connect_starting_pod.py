"""A pod that starts: for the first seconds its callers are refused, then all is well."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ConnectCase, call, calls, serve
from lab.look import Sight
from lab.node import Node

PORT = 8080
START_SECONDS = 5
"""Of which about two are left when a window begins."""


class ConnectStartingPod(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve, PORT, 0, START_SECONDS)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 10, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        return Sight(len(made.where("ECONNREFUSED")) >= 10, str(made))

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
