"""One packet in twelve to one of two servers is lost on the way: its clients wait, those of the other do not."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import filter_forwarded, filtered, named
from lab.look import Sight
from lab.node import Node
from lab.transfers import PORT, TransferCase, repeated, stream, take


class SegmentsLostToOne(TransferCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside", "lossy", "sound")
        client, beside, lossy, sound = self.node.pods
        self.servers = [self.stage.play(pod, name, take) for pod, name in ((lossy, "store"), (sound, "mirror"))]
        filter_forwarded(self.node, f"ip daddr {lossy.address} tcp dport {PORT} numgen random mod 12 0 counter drop")
        self.client = self.stage.play(client, "backup", stream, [lossy.address, sound.address], 3, 6_000, 0.1)
        self.other = self.stage.play(beside, "web", stream, [sound.address], 3, 6_000, 0.1)

    def look(self) -> Sight:
        n, others = repeated(self.node, 0), repeated(self.node, 1)
        return Sight(n >= 50 > others, f"{n} segments repeated, {others} beside; {filtered(self.node)} packets dropped")

    def expected(self) -> Expected:
        return Expected(
            rule="retransmits",
            shapes=("lost", "timeouts"),
            cleared=("path-mtu",),
            innocent=(self.client.who(), self.other.who(), *(server.who() for server in self.servers)),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[2].address, PORT),
        )
