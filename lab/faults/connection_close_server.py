"""A client without keep-alive, twenty requests a second: growth that ends by itself, as entries go after two minutes.

There will be 2,400 of them, half of this table. Who thinks that the first seconds go on for ever sees it full.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.table import TableCase

LIMIT = 5000
SERVER = "203.0.113.80"


class ConnectionCloseServer(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        (self.client_pod,) = self.furnish(LIMIT, "client")
        self.client = self.stage.play(self.client_pod, "poller", ask_anew, SERVER, 80, 20)

    def look(self) -> Sight:
        left = self.table.entries.where("TIME_WAIT", source=self.client_pod.address)
        return Sight(len(left) >= 60, f"{left}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
