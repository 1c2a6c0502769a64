"""Two faults on one node: a health check never reads its answers, and a price job fills the table of connections.

The table drops packets of everybody, so each pod has trouble to connect, and TCP memory grows at the same time. It
looks like one fault with one cause, and is two: whoever ends the churn still has the leak, and the other way round.
The health check has few entries in the table, and the price job has no memory to speak of.
"""

from __future__ import annotations

from lab.case import Expected
from lab.faults.response_never_read import check_health
from lab.load import ask_anew, keep_busy
from lab.look import Sight, never_read, wait_until
from lab.servers import nginx
from lab.table import TableCase

LIMIT = 4000
SERVER = "203.0.113.80"


class LeakAndTableChurn(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        foo, self.web_pod, self.prices, shop = self.furnish(LIMIT, "foo", "web", "prices", "shop")
        self.foo = foo
        self.web = nginx(self.stage, self.web_pod)
        self.leaker = self.stage.play(foo, "foo-health", check_health, self.web_pod.address)
        wait_until(lambda: self.leak.there, 40, self.stage.logs)
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 50, 2)
        self.churner = self.stage.play(self.prices, "price-sync", ask_anew, SERVER, 80, 800)

    @property
    def leak(self) -> Sight:
        return never_read(self.foo.netns, self.web_pod.netns, 80, at_least=30)

    def look(self) -> Sight:
        of_churn = self.table.entries.where("TIME_WAIT", source=self.prices.address, port=80)
        of_leak = self.table.entries.where(source=self.foo.address)
        there = self.leak.there and self.table.overflows(LIMIT) and len(of_churn) > LIMIT / 2 > 10 * len(of_leak)
        seen = f"{self.table}; by the price job: {len(of_churn)}, by the health check: {len(of_leak)}"
        return Sight(there, f"{self.leak.seen}; {seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            also=("socket-leak",),
            shapes=("churn", "response-never-read"),
            severities=("critical",),
            culprits=(self.churner.who(), self.leaker.who()),
            innocent=(self.server.who(), self.web.who(), self.shop.who()),
        )
