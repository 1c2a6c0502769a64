"""The queue before a pod's device is slow and short: most of what is sent to the pod is dropped there, on the node.

The pod beside it is sent the same, and gets all of it.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.datagrams import counters
from lab.look import Sight
from lab.losses import LossCase, gather, queue, queue_drops, report
from lab.stage import Pod

DEVICE = "veth2"


class QueueTooShort(LossCase):
    kind = "fault"

    def start(self) -> None:
        client, self.narrow, self.wide = self.stage.pods("client", "narrow", "wide")
        self.wire = Pod(f"{self.stage.label}-wire", "", "")
        queue(self.wire, DEVICE, "add", "500kbit", "3000")
        self.gatherer = self.stage.play(self.narrow, "statsd", gather)
        self.other = self.stage.play(self.wide, "metrics", gather)
        self.client = self.stage.play(client, "web", report, [self.narrow.address, self.wide.address], 200, 1_000)

    def look(self) -> Sight:
        dropped, came, others = queue_drops(self.wire, DEVICE), counters(self.narrow), counters(self.wide)
        there = dropped >= 50 and others.read > came.read + dropped // 2
        return Sight(there, f"{dropped} dropped before {DEVICE}; {came} here, {others} beside")

    def expected(self) -> Expected:
        return Expected(
            rule="nic-drops",
            severities=("warning", "critical"),
            shapes=("queue-full",),
            cleared=("rp-filter", "forwarding-off", "time-wait-overflow"),
            others=(Named(self.narrow.who(DEVICE), ("victim",)), Named(self.gatherer.who(), ("victim",))),
            innocent=(self.client.who(), self.gatherer.who(), self.other.who()),
            bystanders=(self.client.who(), self.other.who()),
            mentions=(f"dev {DEVICE}  # in network namespace {self.wire.netns.stat().st_ino}",),
        )
