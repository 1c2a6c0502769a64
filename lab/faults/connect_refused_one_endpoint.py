"""A Service of two endpoints, of which one does not listen: about half of all connects are refused, at random.

Who asks the good endpoint by its own address is always answered.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx

SERVICE = "10.96.0.20"


class ConnectRefusedOneEndpoint(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server", "empty")
        client, server, empty = self.node.pods
        self.server = nginx(self.stage, server)
        self.node.service(SERVICE, 80, (server.address, 80), (empty.address, 80))
        self.client = self.stage.play(client, "checkout", call, [(SERVICE, 80)], 20, 2)
        self.other = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        some, other = calls(self.client), calls(self.other)
        there = len(some) >= 20 and 0.2 < some.share("ECONNREFUSED") < 0.8 and other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {some}; browser: {other}")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-refused",
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(SERVICE, 80),
        )
