"""One packet in three hundred to a server is lost on the way, as on an ordinary long path: TCP repeats it at once."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import filter_forwarded, filtered
from lab.look import Sight
from lab.node import Node
from lab.transfers import PORT, TransferCase, repeated, stream, take


class SegmentsLostNowAndThen(TransferCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "store", take)
        self.client = self.stage.play(client, "backup", stream, [server.address], 4, 20_000, 0.05)
        filter_forwarded(self.node, f"ip daddr {server.address} tcp dport {PORT} numgen random mod 300 0 counter drop")

    def look(self) -> Sight:
        n = repeated(self.node, 0)
        return Sight(n >= 3, f"{n} segments repeated; {filtered(self.node)} packets dropped")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("retransmits", "path-mtu"),
            innocent=(self.client.who(), self.server.who()),
        )
