"""A firewall takes one request in three for invalid and rejects it by a reset in the server's name.

The client reads ECONNRESET; the server, which was sent nothing, has not reset anybody and waits on.
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


class ResetByFilter(ConnectCase):
    kind = "fault"
    rejected: ClassVar[str] = "ip saddr {client} ip daddr {server} tcp dport 80"
    error: ClassVar[str] = "ECONNRESET"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        packets = self.rejected.format(client=client.address, server=server.address)
        filter_forwarded(self.node, f"{packets} meta length > 80 numgen inc mod 3 0 counter reject with tcp reset")
        self.client = self.stage.play(client, "checkout", call, [(server.address, 80)], 20, 2)

    def look(self) -> Sight:
        made, met = calls(self.client), filtered(self.node)
        at_client, at_server = (counter(pod.netns, "EstabResets") for pod in self.node.pods)
        there = len(made) >= 20 and 0.2 < made.share(self.error) < 0.6 and made.share(ANSWERED) > 0.3
        seen = f"{made}; {at_client} open connections reset at the client, {at_server} at the server"
        return Sight(there and met > 5, f"{seen}; the rule met {met} packets")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            shapes=("reset-between",),
            innocent=(self.client.who(), self.server.who()),
            others=(named(self.client),),
            endpoint=(self.node.pods[1].address, 80),
        )
