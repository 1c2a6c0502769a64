"""A batch job that somebody gave a high priority (nice -10), four processes for each CPU: it leaves none to others.

A server beside it has little to do, and waits for a CPU for longer than it runs.
"""

from __future__ import annotations

from lab.case import Expected
from lab.cpu_hogs import HogCase, times
from lab.look import Sight


class CpuHogsBesideServer(HogCase):
    kind = "fault"

    def start(self) -> None:
        self.run_beside(nice=-10, work_seconds=0.02, per_second=20)

    def look(self) -> Sight:
        (ran, waited), share = times(self.server.pid), self.hogged()
        seen = f"hogs have {share:.0%} of what CPUs did; the server ran {ran:.2f} s and waited {waited:.2f} s"
        return Sight(ran > 0.1 and waited > ran and share > 0.6, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="cpu-pressure",
            severities=("warning", "critical"),
            shapes=("consumer",),
            culprits=(self.hog.who(),),
            innocent=(self.server.who(), self.client.who()),
        )
