"""A firewall of the node rejects one client's connects to a server that is well, by ICMP "port unreachable".

The client reads the same error as if nothing listened there. Another client is answered by the same server. The node
may send as many of these messages as it likes (icmp_ratelimit 0).
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.stage import Player, Pod, inside


class ConnectRejected(ConnectCase):
    kind = "fault"
    reject: ClassVar[str] = "reject"
    error: ClassVar[str] = "ECONNREFUSED"
    icmp_ratelimit: ClassVar[int] = 0
    wait_seconds: ClassVar[int] = 5

    def start(self) -> None:
        self.node = Node(self.stage, "client", "other", "server")
        client, other, server = self.node.pods
        inside(self.node.host, "sysctl", "-qw", f"net.ipv4.icmp_ratelimit={self.icmp_ratelimit}")
        self.server = nginx(self.stage, server)
        pair = f"ip saddr {client.address} ip daddr {server.address} tcp dport 80"
        filter_forwarded(self.node, f"{pair} counter {self.reject}")
        self.client = self.caller(client, server.address)
        self.other = self.stage.play(other, "browser", call, [(server.address, 80)], 10, 2)

    def caller(self, pod: Pod, address: str) -> Player:
        return self.stage.play(pod, "checkout", call, [(address, 80)], 10, self.wait_seconds)

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        there = len(failed) >= 10 and failed.share(self.error) == other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {failed}; browser: {other}; the rule met {filtered(self.node)} packets")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-refused",
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[2].address, 80),
        )
