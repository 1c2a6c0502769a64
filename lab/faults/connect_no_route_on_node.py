"""A node without a route to where its pod wants to go: it says so by ICMP (EHOSTUNREACH), but only now and then.

The kernel limits what it says of routes to one sender (net.ipv4.route.error_cost, icmp_ratelimit). Of ten connects a
second hardly any reads why; the others get no answer.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, ConnectCase, call, calls, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.stage import ip

NETWORK, REMOTE = "10.90.0.0/16", "10.90.0.80"


class ConnectNoRouteOnNode(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        ip("-n", self.node.host.namespace, "route", "add", "unreachable", NETWORK)
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "checkout", call, [(REMOTE, 443)], 10, 2)
        self.other = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        told = failed.share("EHOSTUNREACH")
        there = len(failed.where(GAVE_UP)) >= 10 and 0 < told < 0.2 and other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {failed}; browser: {other}")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            also=("connect-refused",),
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(REMOTE, 443),
        )
