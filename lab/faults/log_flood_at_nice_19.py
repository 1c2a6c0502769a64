"""The same flood of one kernel line, but the journals and who floods them are at nice 19: they take what is left over.

No CPU is idle and the journals are all that a list of the busiest programs shows. The shop beside them gets a CPU when
it wants one, and nobody waits for a log.

It takes a machine with nothing else to do: other work gets what the journals would have.
"""

from __future__ import annotations

from lab.case import Expected
from lab.faults.log_flood_beside_server import LogFloodBesideServer


class LogFloodAtNice19(LogFloodBesideServer):
    kind = "look-alike"
    nice = 19
    work_seconds = 0.004
    per_second = 40

    def hurt(self, ran: float, waited: float) -> bool:
        """Here: that it is not."""
        return ran > 0.2 and waited < ran / 4

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (*self.journals, self.flood, self.server, self.client))
        return Expected(rule=None, innocent=parts)
