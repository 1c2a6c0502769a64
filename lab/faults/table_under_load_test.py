"""The load test with kept-alive connections: thousands of requests a second, and two hundred entries, all in use."""

from __future__ import annotations

from lab.case import Expected
from lab.look import Sight
from lab.servers import wrk
from lab.table import TableCase

LIMIT = 1000
CONNECTIONS = 200
SERVER = "203.0.113.80"


class TableUnderLoadTest(TableCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        (self.client_pod,) = self.furnish(LIMIT, "client")
        self.client = wrk(self.stage, self.client_pod, f"http://{SERVER}/small", CONNECTIONS)

    def look(self) -> Sight:
        own = self.table.entries.where("ESTABLISHED", source=self.client_pod.address, port=80)
        there = len(own) == CONNECTIONS and self.table.count < LIMIT / 2 and not self.table.statistics["drop"]
        return Sight(there, f"{own}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
