"""A server resets one connection in three, behind a proxy (haproxy, TCP mode) that closes properly towards its client.

The client sees no reset, only that nothing came; the reset is between proxy and server.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import CLOSED, ConnectCase, answerable, call, calls, counter, named, serve
from lab.look import Sight
from lab.node import Node
from lab.servers import haproxy, up

PORT, PROXY_PORT = 8080, 80


class ResetBehindProxy(ConnectCase):
    kind = "fault"
    quick = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "proxy", "server")
        client, proxy, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve, PORT, 3)
        up(self.stage, server, self.server, PORT)
        self.proxy = haproxy(self.stage, proxy, PROXY_PORT, f"{server.address}:{PORT}")
        self.client = self.stage.play(client, "checkout", call, [(proxy.address, PROXY_PORT)], 20, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        at_client, at_proxy, _ = (counter(pod.netns, "EstabResets") for pod in self.node.pods)
        there = len(made) >= 20 and 0.2 < made.share(CLOSED) < 0.5 and at_client == 0 < at_proxy
        return Sight(there, f"{made}; {at_client} connections of the client reset, {at_proxy} of the proxy")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            tolerated=(self.server.who(),),
            innocent=(self.client.who(), self.proxy.who()),
            others=(named(self.proxy), answerable(self.server)),
            endpoint=(self.node.pods[2].address, PORT),
        )
