"""A server that resets one connection in three instead of answering (SO_LINGER 0), because its workers are all taken.

It has read the request; the client, which waits for the answer, reads ECONNRESET.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ConnectCase, answerable, call, calls, counter, named, serve
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


class ResetBeforeAnswer(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve, PORT, 3)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        sent = counter(self.node.pods[1].netns, "OutRsts")
        there = len(made) >= 20 and 0.2 < made.share("ECONNRESET") < 0.5
        return Sight(there, f"{made}; the server's namespace sent {sent} resets")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client), answerable(self.server)),
            endpoint=(self.node.pods[1].address, PORT),
        )
