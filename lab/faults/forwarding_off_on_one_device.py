"""The node forwards (ip_forward=1), but not what comes in by its uplink: that device was made anew with forwarding off.

A device has a setting of its own (net.ipv4.conf.eth0.forwarding), and ip_forward still reads 1. Pods reach each other,
the node reaches the outside, and what a pod asks of the outside is sent and answered: the answer is dropped on the
node. From inside of the pod the server outside seems to be dead.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import PORT, LossCase
from lab.node import Node
from lab.servers import up
from lab.stage import inside

SETTING = "net.ipv4.conf.eth0.forwarding"
SERVER = "203.0.113.40"


class ForwardingOffOnOneDevice(LossCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside", "stock")
        client, beside, stock = self.node.pods
        self.far = self.stage.play(self.node.outside, "orders", serve, PORT)
        self.near = self.stage.play(stock, "stock", serve, PORT)
        up(self.stage, self.node.outside, self.far, PORT)
        up(self.stage, stock, self.near, PORT)
        inside(self.node.host, "sysctl", "-qw", f"{SETTING}=0")
        self.client = self.stage.play(client, "checkout", call, [(SERVER, PORT)], 20, 2)
        self.other = self.stage.play(beside, "web", call, [(stock.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        dropped = counter(self.node.host.netns, "InAddrErrors")
        there = made.share(GAVE_UP) == 1.0 == others.share(ANSWERED) and len(made) >= 20 and dropped >= 40
        return Sight(there, f"{dropped} packets for others dropped; {made}; beside: {others}")

    def expected(self) -> Expected:
        innocent = (self.client.who(), self.other.who(), self.far.who(), self.near.who())
        return Expected(
            rule="forwarding-off",
            severities=("warning", "critical"),
            cleared=("rp-filter", "nic-drops", "time-wait-overflow"),
            others=(Named(self.node.host.who(), ("holder", "victim", "culprit")),),
            innocent=innocent,
            bystanders=(self.other.who(), self.near.who()),
            mentions=("eth0", "forwarding"),
        )
