"""A burst of short connections that is over: ab asked three thousand times, and what is left in the table only waits.

Entries in TIME_WAIT fill sixty percent of it when the window begins, and no new ones come.
"""

from __future__ import annotations

from pathlib import Path

from lab.case import Expected
from lab.look import Sight
from lab.table import TableCase

LIMIT = 5000
REQUESTS = 3000
SERVER = "203.0.113.80"
BURST = f"ab -q -n {REQUESTS} -c 8 http://{SERVER}/small && exec sleep 1h"


class TableBurstThatEnded(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        (self.client_pod,) = self.furnish(LIMIT, "client")
        self.client = self.stage.run(self.client_pod, "sleep", "sh", "-c", BURST)

    def look(self) -> Sight:
        left = self.table.entries.where("TIME_WAIT", source=self.client_pod.address)
        program = Path(f"/proc/{self.client.pid}/comm").read_text().strip()
        over = program == "sleep" and len(left) >= 0.95 * REQUESTS
        return Sight(over, f"{program}; {left}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
