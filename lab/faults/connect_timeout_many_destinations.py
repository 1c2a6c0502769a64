"""An egress policy drops what one pod sends to the outside: none of its connects to twenty addresses is answered.

Another pod is answered by the same addresses.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, ConnectCase, call, calls, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx

REMOTES = [(f"203.0.113.{number}", 80) for number in range(1, 21)]


class ConnectTimeoutManyDestinations(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "other")
        client, other = self.node.pods
        self.server = nginx(self.stage, self.node.outside)
        filter_forwarded(self.node, f"ip saddr {client.address} oifname eth0 counter drop")
        self.client = self.stage.play(client, "checkout", call, REMOTES, 20, 2)
        self.other = self.stage.play(other, "browser", call, REMOTES, 20, 2)

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        there = len(failed) >= 20 and failed.share(GAVE_UP) == other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {failed}; browser: {other}; the rule met {filtered(self.node)} packets")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
        )
