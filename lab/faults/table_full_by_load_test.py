"""A load test from a pod (wrk), told to say `Connection: close`: a connection for each request, and the table is full.

Another pod keeps a few connections to the same server.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight
from lab.servers import wrk
from lab.table import TableCase, full_of_churn

LIMIT = 4000
SERVER = "203.0.113.80"


class TableFullByLoadTest(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        client, shop = self.furnish(LIMIT, "client", "shop")
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 20, 1)
        self.client = wrk(self.stage, client, f"http://{SERVER}/small", 10, "-H", "Connection: close")

    def look(self) -> Sight:
        return self.look_by_pod(LIMIT)

    def expected(self) -> Expected:
        return full_of_churn((self.client.who(),), (self.server.who(), self.shop.who()), endpoint=(SERVER, 80))
