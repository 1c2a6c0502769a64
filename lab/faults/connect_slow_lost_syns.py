"""One SYN in five is lost on the way: each connect succeeds, but some need a second, or several.

Only SYNs are lost, so nothing but connecting is slow.
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.connects import ANSWERED, STEP_SECONDS, ConnectCase, call, calls, counter, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


class ConnectSlowLostSyns(ConnectCase):
    kind = "fault"
    lost: ClassVar[str] = "tcp dport 80 tcp flags & (syn | ack) == syn"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        filter_forwarded(self.node, f"{self.lost} numgen random mod 5 0 counter drop")
        self.client = self.stage.play(client, "checkout", call, [(server.address, 80)], 30, 20)

    def look(self) -> Sight:
        made = calls(self.client)
        slow = made.where(ANSWERED, at_least_seconds=STEP_SECONDS)
        repeated = counter(self.node.pods[0].netns, "TCPSynRetrans")
        lost = f"{filtered(self.node)} packets dropped, {repeated} SYNs repeated"
        seen = f"{made}; {len(slow)} took a second or more; {lost}"
        return Sight(len(slow) >= 5 and made.share(ANSWERED) == 1, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-slow",
            innocent=(self.client.who(), self.server.who()),
            others=(named(self.client),),
            endpoint=(self.node.pods[1].address, 80),
        )
