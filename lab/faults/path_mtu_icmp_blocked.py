"""A smaller MTU behind the node, and a pod whose firewall drops all ICMP: it never hears that its packets are too big.

The node says so each time ("fragmentation needed"), and the pod throws it away, as a hardening guide told somebody.
Handshakes and short requests pass, uploads hang. Another pod on the same path, without such a firewall, is told once
and sends smaller packets from then on: the path is not broken, the server is well, and nothing is lost at random.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import counter, named
from lab.look import Sight
from lab.node import OUTSIDE, Node
from lab.stage import inside, ip
from lab.transfers import PORT, TransferCase, repeated, stream, take, upload

MTU = "1400"


class PathMtuIcmpBlocked(TransferCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside")
        client, beside = self.node.pods
        ip("-n", self.node.host.namespace, "link", "set", "eth0", "mtu", MTU)
        inside(client, "nft", "add table ip hardened")
        inside(client, "nft", "add chain ip hardened in { type filter hook input priority filter; }")
        inside(client, "nft", "add rule ip hardened in ip protocol icmp counter drop")
        self.server = self.stage.play(self.node.outside, "store", take)
        self.client = self.stage.play(client, "backup", upload, OUTSIDE, 10_000, 1.0)
        self.other = self.stage.play(beside, "web", stream, [OUTSIDE], 3, 6_000, 0.1)

    def look(self) -> Sight:
        said = counter(self.node.host.netns, "FragFails")
        n, others = repeated(self.node, 0), repeated(self.node, 1)
        seen = f"{n} segments repeated, {others} beside; the node found {said} packets too big"
        return Sight(n >= 15 and said >= 15 and others < 50, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="path-mtu",
            also=("retransmits",),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(OUTSIDE, PORT),
        )
