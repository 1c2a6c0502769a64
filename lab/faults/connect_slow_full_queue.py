"""A server whose accept queue is short and full for moments: the SYNs of whoever comes then are dropped.

It answers one request after the other (30 ms each), and ten come at a time, 12.5 a second. On average it has time
enough; but some of each ten have to send their SYN again after a second.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, STEP_SECONDS, ConnectCase, answerable, call, calls, counter, named, serve_in_turn
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


class ConnectSlowFullQueue(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve_in_turn, PORT, 3, 0.03)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 12.5, 20, 10)

    def look(self) -> Sight:
        made = calls(self.client)
        slow = made.where(ANSWERED, at_least_seconds=STEP_SECONDS)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        seen = f"{made}; {len(slow)} took a second or more; the queue was full for {dropped} packets"
        return Sight(len(slow) >= 5 and dropped >= len(slow), seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-slow",
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client), answerable(self.server)),
            endpoint=(self.node.pods[1].address, PORT),
        )
