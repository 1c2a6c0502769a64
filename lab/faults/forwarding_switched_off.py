"""Somebody loads old sysctl files, and the node no longer forwards: its pods' calls are dropped without an answer."""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import PORT, LossCase
from lab.node import Node
from lab.servers import up
from lab.stage import inside


class ForwardingSwitchedOff(LossCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.off, self.answered = False, 0
        self.server = self.stage.play(server, "orders", serve, PORT)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made, dropped = calls(self.client), counter(self.node.host.netns, "InAddrErrors")
        answered, self.answered = self.answered, len(made.where(ANSWERED))
        if self.answered >= 20 and not self.off:
            inside(self.node.host, "sysctl", "-qw", "net.ipv4.ip_forward=0")
            self.off = True
        there = self.off and answered == self.answered and dropped >= 40 and len(made.where(GAVE_UP)) >= 10
        return Sight(there, f"{dropped} packets for others dropped; {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="forwarding-off",
            severities=("warning", "critical"),
            shapes=("off",),
            cleared=("rp-filter", "nic-drops", "time-wait-overflow"),
            others=(Named(self.node.host.who(), ("holder",)),),
            innocent=(self.client.who(), self.server.who()),
            mentions=("net.ipv4.ip_forward",),
        )
