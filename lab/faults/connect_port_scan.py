"""An inventory looks which ports of its neighbour are open: thousands are refused, each once, and one is not.

That these were refused may be said; it is the inventory's own doing, and no service fails.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ConnectCase, call, calls
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


def scan(address: str) -> None:
    call([(address, port) for port in range(1, 20_000)], 200, 1)


class ConnectPortScan(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "inventory", scan, server.address)

    def look(self) -> Sight:
        made = calls(self.client)
        return Sight(len(made.where("ECONNREFUSED")) >= 100, str(made))

    def expected(self) -> Expected:
        return Expected(rule=None, tolerated=(self.client.who(),), innocent=(self.server.who(),))
