"""The table filled by a connection for each request, over IPv6. The address family changes nothing."""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.table import TableCase, full_of_churn

LIMIT = 4000
SERVER = "2001:db8::80"


class TableFullByChurnIpv6(TableCase):
    kind = "fault"

    def start(self) -> None:
        (self.client_pod,) = self.furnish(LIMIT, "client")
        self.client = self.stage.play(self.client_pod, "price-sync", ask_anew, SERVER, 80, 800)

    def look(self) -> Sight:
        own = self.table.entries.where("TIME_WAIT", source=self.client_pod.address6, port=80)
        there = len(own) >= 0.9 * LIMIT and self.table.statistics["drop"] > 0
        return Sight(there, f"{self.table}; in TIME_WAIT by the client: {len(own)}")

    def expected(self) -> Expected:
        return full_of_churn((self.client.who(),), (self.server.who(),), endpoint=(SERVER, 80))
