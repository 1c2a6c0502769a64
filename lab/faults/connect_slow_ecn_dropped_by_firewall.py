"""A pod asks for ECN in its SYNs (tcp_ecn=1), and an old firewall on the way drops a SYN with these bits.

The kernel sends the second SYN without them (RFC 3168, 6.1.1.1), and that one passes: every connect of the pod
succeeds, and every one takes a second and hardly more. It looks like loss at random, but none is: the other pods, which
do not ask for it, are connected to the same server within a millisecond, and the server never sees what was dropped.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, STEP_SECONDS, ConnectCase, call, calls, counter, filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.stage import inside

PORT = 80
ASKS_FOR_ECN = "tcp flags & (syn | ack | ecn | cwr) == (syn | ecn | cwr)"


class ConnectSlowEcnDroppedByFirewall(ConnectCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "other", "server")
        client, other, server = self.node.pods
        inside(client, "sysctl", "-qw", "net.ipv4.tcp_ecn=1")
        self.server = nginx(self.stage, server, PORT)
        filter_forwarded(self.node, f"ip daddr {server.address} tcp dport {PORT} {ASKS_FOR_ECN} counter drop")
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 10, 20)
        self.other = self.stage.play(other, "browser", call, [(server.address, PORT)], 10, 20)

    def look(self) -> Sight:
        made, others, dropped = calls(self.client), calls(self.other), filtered(self.node)
        slow = made.where(ANSWERED, at_least_seconds=STEP_SECONDS)
        repeated, beside = (counter(pod.netns, "TCPSynRetrans") for pod in self.node.pods[:2])
        there = len(slow) == len(made) >= 15 and dropped >= len(slow) and repeated >= len(slow)
        well = len(others) >= 30 and others.share(ANSWERED) == 1.0 and beside <= 0.05 * len(others)
        seen = f"{made}; beside: {others}; {dropped} SYNs dropped, {repeated} repeated, {beside} beside"
        return Sight(there and well, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-slow",
            severities=("warning", "critical"),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[2].address, PORT),
        )
