"""An upload through a pod's bandwidth limit: its queue drops a packet now and then, by which TCP finds its pace."""

from __future__ import annotations

from lab.case import Expected
from lab.look import Sight
from lab.losses import LossCase, queue, queue_drops
from lab.transfers import stream, take


class QueueSetsThePace(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        self.client_pod, server = self.stage.pods("client", "server")
        queue(self.client_pod, "eth0", "add", "50mbit", "100000")
        self.last = 0
        self.server = self.stage.play(server, "store", take)
        self.client = self.stage.play(self.client_pod, "backup", stream, [server.address], 2, 500_000, 0)

    def look(self) -> Sight:
        last, self.last = self.last, queue_drops(self.client_pod, "eth0")
        return Sight(self.last > last > 0, f"{self.last} dropped before eth0, {self.last - last} of them lately")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            innocent=(self.client.who(), self.server.who()),
        )
