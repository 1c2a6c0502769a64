"""A Service whose only endpoint was on a node that died: no connect is answered, and the client gives up after 2 s.

Its other Service is answered meanwhile.
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, ConnectCase, call, calls, named
from lab.look import Sight
from lab.node import BLACK_HOLE, Node
from lab.servers import nginx

SERVICE, OTHER_SERVICE = "10.96.0.20", "10.96.0.21"


class ConnectTimeoutDeadService(ConnectCase):
    kind = "fault"
    quick = True
    wait_seconds: ClassVar[int] = 2

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.node.service(OTHER_SERVICE, 80, (server.address, 80))
        self.prepare()
        self.client = self.stage.play(client, "checkout", call, [(SERVICE, 80)], 10, self.wait_seconds)
        self.other = self.stage.play(client, "browser", call, [(OTHER_SERVICE, 80)], 10, 2)

    def prepare(self) -> None:
        self.node.service(SERVICE, 80, (BLACK_HOLE, 8080))

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        there = len(failed) >= 5 and self.failing(failed.share(GAVE_UP)) and other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {failed}; browser: {other}")

    def failing(self, share: float) -> bool:
        return share == 1

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(SERVICE, 80),
        )
