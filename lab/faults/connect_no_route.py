"""A pod without a default route: a connect to the outside fails in the call itself (ENETUNREACH), no SYN is sent.

The kernel finds no route before the socket begins to connect, so no connection ends. Whoever says nothing is right, and
whoever says that it fails is too; but nobody else did it.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import GATEWAY, PODS, Node
from lab.servers import nginx
from lab.stage import ip

REMOTE = "203.0.113.80"


class ConnectNoRoute(ConnectCase):
    kind = "fault"
    undecidable = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        ip("-n", client.namespace, "route", "del", "default")
        ip("-n", client.namespace, "route", "add", PODS, "via", GATEWAY)
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "checkout", call, [(REMOTE, 443)], 10, 5)
        self.other = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        begun = counter(self.node.pods[0].netns, "ActiveOpens")
        there = len(failed) >= 10 and failed.share("ENETUNREACH") == other.share(ANSWERED) == 1
        return Sight(
            there and begun < len(failed) + len(other), f"checkout: {failed}; browser: {other}; {begun} connects begun"
        )

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            also=("connect-refused", "connect-timeout"),
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
        )
