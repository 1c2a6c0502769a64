"""Nothing listens any more on the port that a client was told: every connect is refused, ten a second, and no end.

The pod is there and serves another port, on which it is asked as often.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx

PORT = 8080


class ConnectRefused(ConnectCase):
    kind = "fault"
    quick = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 10, 2)
        self.other = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        refused, other = calls(self.client), calls(self.other)
        there = len(refused) >= 10 and refused.share("ECONNREFUSED") == other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {refused}; browser: {other}")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-refused",
            severities=("info", "warning"),  # a server that was made a minute ago may just be starting
            tolerated=(self.client.who(),),
            innocent=(self.server.who(),),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[1].address, PORT),
        )
