"""Bursts that fit: forty clients come at once to a server that takes one after the other, with room for all of them.

Between two of them its queue is long, and nobody is dropped.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter, serve_in_turn
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


class AcceptQueueBurst(ConnectCase):
    kind = "look-alike"
    rules = QUEUE_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve_in_turn, PORT, 128, 0.01)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 40, 20, 40)

    def look(self) -> Sight:
        made = calls(self.client)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        return Sight(len(made.where(ANSWERED)) >= 120 and not dropped, f"{made}; {dropped} dropped")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("accept-queue", "syn-queue", "udp-buffers"),
            innocent=(self.server.who(), self.client.who()),
        )
