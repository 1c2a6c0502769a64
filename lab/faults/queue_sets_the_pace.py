"""An upload to a pod with a bandwidth limit: the queue before it drops a packet at times, by which TCP finds its pace.

The limit is where a CNI plugin puts it, on the node's end of the pod's link. On the sender's own end nothing would be
dropped: TCP puts no more into the queue of its own device than leaves it in a moment (TCP small queues).
"""

from __future__ import annotations

from lab.case import Expected
from lab.look import Sight
from lab.losses import LossCase, queue, queue_drops
from lab.stage import Pod
from lab.transfers import stream, take

TO_SERVER = "veth2"


class QueueSetsThePace(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        client, server = self.stage.pods("client", "server")
        self.node = Pod(f"{self.stage.label}-wire", "", "")
        queue(self.node, TO_SERVER, "add", "50mbit", "100000")
        self.last = 0
        self.server = self.stage.play(server, "store", take)
        self.client = self.stage.play(client, "backup", stream, [server.address], 2, 500_000, 0)

    def look(self) -> Sight:
        last, self.last = self.last, queue_drops(self.node, TO_SERVER)
        return Sight(self.last > last > 0, f"{self.last} dropped before the pod, {self.last - last} of them lately")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            innocent=(self.client.who(), self.server.who()),
        )
