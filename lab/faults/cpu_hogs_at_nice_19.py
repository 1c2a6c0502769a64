"""The same batch job at nice 19, as a session too (see sched(7), autogroup): it takes what is left over.

The CPUs are never idle and its own processes wait for one another. The server beside them gets a CPU when it wants one.

It takes a machine with nothing else to do: other work gets what the hogs would have, and is not there for this case.
"""

from __future__ import annotations

from lab.case import Expected
from lab.cpu_hogs import HogCase, times
from lab.look import Sight


class CpuHogsAtNice19(HogCase):
    kind = "look-alike"

    def start(self) -> None:
        self.run_beside(nice=19, work_seconds=0.004, per_second=40)

    def look(self) -> Sight:
        (ran, waited), share = times(self.server.pid), self.hogged()
        seen = f"hogs have {share:.0%} of what CPUs did; the server ran {ran:.2f} s and waited {waited:.2f} s"
        return Sight(ran > 0.2 and waited < ran / 4 and share > 0.6, seen)

    def expected(self) -> Expected:
        parts = (self.hog.who(), self.server.who(), self.client.who())
        return Expected(rule=None, innocent=parts)
