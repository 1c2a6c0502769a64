"""A monitor in a pod of the host network asks twice a second for the tracked connections with a mark that none has.

The table has 200,000 entries, and the kernel walks them all with softirqs off: pings which the monitor's CPU receives
meanwhile wait for tens of milliseconds. All programs beside it are idle, and the CPU is mostly so too.
As in incident 2 a monitor keeps waiting whatever its CPU receives, here by another call.
"""

from __future__ import annotations

from typing import ClassVar

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.containers import PodCgroup
from lab.ctnetlink import Filter, ask_again_and_again, fill
from lab.look import Sight
from lab.node import Node
from lab.who import Who

EVERY_SECONDS = 0.5


class StallSelectiveDump(StallCase):
    kind = "fault"
    quick = True
    changes_global = True
    by: ClassVar[Filter] = "mark"

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop")
        fill(self.stage, self.node.host)
        self.ping_all_the_time(*self.node.pods)
        self.pod = PodCgroup(self.stage)
        asks = (self.by, EVERY_SECONDS, self.receiver)
        self.monitor = self.stage.play(self.node.host, "net-monitor", ask_again_and_again, *asks)
        self.pod.add(self.monitor.pid)

    def look(self) -> Sight:
        asked = self.monitor.log.read_text().splitlines()[-3:]
        return self.late(at_least=4, seconds=0.02, seen=f"monitor: {asked}, {used(self.monitor.pid)}")

    def expected(self) -> Expected:
        monitor = Who(self.monitor.comm, self.monitor.who().pids, pod=self.pod.uid)
        return self.stalled("softirqs-disabled", monitor)
