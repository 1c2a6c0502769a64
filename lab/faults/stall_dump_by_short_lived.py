"""A script in a pod starts conntrack(8) with a mark twice a second, on whichever CPU is free.

Each of them keeps softirqs off for tens of milliseconds, and is gone before anybody can ask who it was. Both CPUs
receive pings. The script itself does nothing but wait.
"""

from __future__ import annotations

import re

from lab.arrivals import StallCase, steer
from lab.case import Expected
from lab.containers import PodCgroup
from lab.ctnetlink import fill, start_again_and_again
from lab.look import Sight
from lab.node import Node
from lab.who import Who

EVERY_SECONDS = 0.4
MARKED = ["--mark", "77"]


class StallDumpByShortLived(StallCase):
    kind = "fault"
    changes_global = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop")
        fill(self.stage, self.node.host)
        self.ping_all_the_time(*self.node.pods)
        steer(self.node.pods[0], "eth0", self.sender)
        pod = PodCgroup(self.stage)
        self.script = self.stage.play(self.node.host, "count-marked", start_again_and_again, MARKED, EVERY_SECONDS)
        pod.add(self.script.pid)

    @property
    def started(self) -> Who:
        """Each conntrack that there has been, and the one that there may be."""
        pids = re.findall(r"^started (\d+) ", self.script.log.read_text(), re.MULTILINE)
        return Who("conntrack", frozenset({*map(int, pids), *self.script.who().pids} - {self.script.pid}))

    def look(self) -> Sight:
        return self.late(at_least=4, seconds=0.02, seen=f"conntrack: {self.script.log.read_text().splitlines()[-1:]}")

    def expected(self) -> Expected:
        return self.stalled("softirqs-disabled", self.started)
