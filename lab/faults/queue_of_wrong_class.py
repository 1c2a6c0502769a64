"""A pod's metrics fall into the class that is meant for leftovers: most are dropped before they have left the pod.

Its device shares out the uplink by class (htb). The filter knows the shop by its port; when metrics came, nobody added
theirs, and what no filter knows has 200 kbit a second and a queue of eight packets. The sender never learns of it, for
to UDP a full queue is no error, and the gatherer takes all that comes. Calls of the same pod by the same device pass.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import ANSWERED, call, calls, serve
from lab.datagrams import counters
from lab.look import Sight
from lab.losses import PORT, LossCase, gather, queue_drops, report
from lab.servers import up
from lab.stage import Pod, inside

DEVICE, PER_SECOND, SIZE = "eth0", 150, 1_000
CLASSES: tuple[tuple[str, ...], ...] = (
    ("qdisc", "add", "dev", DEVICE, "root", "handle", "1:", "htb", "default", "30"),
    ("class", "add", "dev", DEVICE, "parent", "1:", "classid", "1:10", "htb", "rate", "100mbit", "quantum", "15000"),
    ("class", "add", "dev", DEVICE, "parent", "1:", "classid", "1:30", "htb", "rate", "200kbit", "quantum", "1500"),
    ("qdisc", "add", "dev", DEVICE, "parent", "1:30", "handle", "30:", "pfifo", "limit", "8"),
)
KNOWN = (
    ("protocol", "ip", "prio", "1", "u32", "match", "ip", "dport", str(PORT), "0xffff"),
    ("protocol", "arp", "prio", "2", "u32", "match", "u32", "0", "0"),
)


def share_out(pod: Pod) -> None:
    for words in CLASSES:
        inside(pod, "tc", *words)
    for words in KNOWN:
        inside(pod, "tc", "filter", "add", "dev", DEVICE, "parent", "1:", *words, "flowid", "1:10")


class QueueOfWrongClass(LossCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.pod, shop, self.metrics = self.stage.pods("client", "shop", "metrics")
        share_out(self.pod)
        self.server = self.stage.play(shop, "shop", serve, PORT)
        up(self.stage, shop, self.server, PORT)
        self.gatherer = self.stage.play(self.metrics, "statsd", gather)
        self.caller = self.stage.play(self.pod, "checkout", call, [(shop.address, PORT)], 10, 5)
        self.sender = self.stage.play(self.pod, "metrics-agent", report, [self.metrics.address], PER_SECOND, SIZE)

    def look(self) -> Sight:
        dropped, came, made = queue_drops(self.pod, DEVICE), counters(self.metrics), calls(self.caller)
        well = len(made) >= 20 and made.share(ANSWERED) >= 0.95
        there = well and dropped >= 200 and dropped > came.read > 0 == came.no_room
        return Sight(there, f"{dropped} dropped before {DEVICE}; {came}; calls: {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="nic-drops",
            severities=("warning", "critical"),
            cleared=("rp-filter", "forwarding-off", "time-wait-overflow"),
            others=(Named(self.pod.who(DEVICE), ("victim", "holder")),),
            innocent=(self.sender.who(), self.gatherer.who(), self.caller.who(), self.server.who()),
            bystanders=(self.caller.who(), self.server.who()),
            mentions=(DEVICE,),
        )
