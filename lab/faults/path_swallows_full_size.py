"""Packets over 1,400 bytes to one server are swallowed, without a word: uploads hang, messages of 300 bytes pass."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.transfers import PORT, TransferCase, repeated, stream, take, upload


class PathSwallowsFullSize(TransferCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside", "far", "near")
        client, beside, far, near = self.node.pods
        self.servers = [self.stage.play(pod, name, take) for pod, name in ((far, "store"), (near, "mirror"))]
        filter_forwarded(self.node, f"ip daddr {far.address} tcp dport {PORT} meta length > 1400 counter drop")
        self.client = self.stage.play(client, "backup", upload, far.address, 10_000, 1.0)
        self.other = self.stage.play(beside, "chat", stream, [far.address, near.address], 2, 300, 0.05)

    def look(self) -> Sight:
        n, others = repeated(self.node, 0), repeated(self.node, 1)
        return Sight(n >= 10 > others, f"{n} segments repeated, {others} beside; {filtered(self.node)} packets dropped")

    def expected(self) -> Expected:
        return Expected(
            rule="path-mtu",
            also=("retransmits",),
            innocent=(self.client.who(), self.other.who(), *(server.who() for server in self.servers)),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[2].address, PORT),
        )
