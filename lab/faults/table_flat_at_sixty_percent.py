"""A table at sixty percent that neither grows nor shrinks: connections in use, kept alive."""

from __future__ import annotations

from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight
from lab.table import TableCase

LIMIT = 5000
EACH = 1500
SERVER = "203.0.113.80"


class TableFlatAtSixtyPercent(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        pods = self.furnish(LIMIT, "client1", "client2")
        self.clients = [self.stage.play(pod, "shop", keep_busy, SERVER, 80, EACH, 5) for pod in pods]

    def look(self) -> Sight:
        used = self.table.entries.where("ESTABLISHED", port=80)
        return Sight(len(used) == 2 * EACH, f"{used}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), *(client.who() for client in self.clients)))
