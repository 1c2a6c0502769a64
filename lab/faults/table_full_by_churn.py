"""A connection for each request, until the node's table is full (incident 3).

A pod asks a server outside eight hundred times a second with http.client, and closes each connection properly. Behind
NAT an entry outlives its connection by two minutes: with a small table (it is lowered for this) a few seconds of that
are enough, and then packets of every pod are dropped. A second pod keeps a few connections to the same server.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew, keep_busy
from lab.look import Sight
from lab.table import TableCase, full_of_churn

LIMIT = 4000
SERVER = "203.0.113.80"


class TableFullByChurn(TableCase):
    kind = "fault"
    quick = True

    def start(self) -> None:
        self.client_pod, self.other_pod = self.furnish(LIMIT, "client", "other")
        self.other = self.stage.play(self.other_pod, "shop", keep_busy, SERVER, 80, 50, 2)
        self.client = self.stage.play(self.client_pod, "price-sync", ask_anew, SERVER, 80, 800)

    def look(self) -> Sight:
        own = self.table.entries.where("TIME_WAIT", source=self.client_pod.address, port=80)
        there = self.table.overflows(LIMIT) and len(own) > LIMIT / 2
        return Sight(there, f"{self.table}; in TIME_WAIT by the client: {len(own)}")

    def expected(self) -> Expected:
        return full_of_churn((self.client.who(),), (self.server.who(), self.other.who()), endpoint=(SERVER, 80))
