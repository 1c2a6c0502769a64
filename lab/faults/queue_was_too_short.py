"""The queue before a pod's device was too short, and is long enough now: its counters say for ever what it dropped."""

from __future__ import annotations

from lab.case import Expected
from lab.datagrams import counters
from lab.look import Sight
from lab.losses import LossCase, gather, queue, queue_drops, report
from lab.stage import Pod

DEVICE = "veth2"


class QueueWasTooShort(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        client, self.pod = self.stage.pods("client", "narrow")
        self.wire = Pod(f"{self.stage.label}-wire", "", "")
        queue(self.wire, DEVICE, "add", "500kbit", "3000")
        self.long, self.last = False, 0
        self.gatherer = self.stage.play(self.pod, "statsd", gather)
        self.client = self.stage.play(client, "web", report, [self.pod.address], 200, 1_000)

    def look(self) -> Sight:
        last, self.last = self.last, queue_drops(self.wire, DEVICE)
        if self.last >= 50 and not self.long:
            queue(self.wire, DEVICE, "change", "10mbit", "300000")
            self.long = True
        return Sight(self.long and last == self.last, f"{self.last} were dropped before {DEVICE}; {counters(self.pod)}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            innocent=(self.client.who(), self.gatherer.who()),
        )
