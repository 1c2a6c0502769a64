"""A network policy drops one client's connects to a server that is well: each fails after three seconds.

Every connect of the pair fails and none of another client does. The kernel gives up (ETIMEDOUT), as the client sets no
limit of its own; its namespace has a small tcp_syn_retries, so that this takes no minutes.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.stage import inside


class ConnectDropped(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "other", "server")
        client, other, server = self.node.pods
        inside(client, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")
        self.server = nginx(self.stage, server)
        pair = f"ip saddr {client.address} ip daddr {server.address} tcp dport 80"
        filter_forwarded(self.node, f"{pair} counter drop")
        self.client = self.stage.play(client, "checkout", call, [(server.address, 80)], 10, 60)
        self.other = self.stage.play(other, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        failed, other = calls(self.client), calls(self.other)
        there = len(failed) >= 5 and failed.share("ETIMEDOUT") == other.share(ANSWERED) == 1
        return Sight(there, f"checkout: {failed}; browser: {other}; the rule met {filtered(self.node)} packets")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[2].address, 80),
        )
