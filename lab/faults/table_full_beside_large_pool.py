"""Two programs of one pod: a shop with a pool of twelve hundred connections, and a sidecar that fills the table.

The shop uses each of its connections and never opens another. The sidecar pushes prices to a partner, each on a
connection of its own, and has hardly ever more than one open: what it leaves behind are entries that wait for two
minutes. Both have the pod's address, and of the sockets that the pod has open nearly all are the shop's.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew, keep_busy
from lab.look import Sight, connections, wait_until
from lab.table import TableCase, full_of_churn

LIMIT, POOL = 3000, 1200
DATABASE, PARTNER, PORT = "203.0.113.80", "203.0.113.81", 80


class TableFullBesideLargePool(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.pod, beside = self.furnish(LIMIT, "shop", "cart")
        self.shop = self.stage.play(self.pod, "shop", keep_busy, DATABASE, PORT, POOL, 10)
        self.cart = self.stage.play(beside, "cart", keep_busy, DATABASE, PORT, 20, 1)
        wait_until(lambda: self.pooled() == POOL, 20, self.stage.logs)
        self.sidecar = self.stage.play(self.pod, "price-push", ask_anew, PARTNER, PORT, 150)

    def pooled(self) -> int:
        return len(connections(self.pod.netns).where("ESTAB", peer_port=PORT))

    def look(self) -> Sight:
        entries = self.table.entries
        pool = entries.where("ESTABLISHED", source=self.pod.address, destination=DATABASE)
        left = entries.where("TIME_WAIT", source=self.pod.address, destination=PARTNER)
        there = self.table.overflows(LIMIT) and len(left) > len(pool) >= POOL and self.pooled() < POOL + 50
        seen = f"{self.table} of {LIMIT}; the pool's: {pool}; the sidecar's: {left}"
        return Sight(there, f"{seen}; {self.pooled()} sockets of the pod are established")

    def expected(self) -> Expected:
        innocent = (self.shop.who(), self.cart.who(), self.server.who())
        return full_of_churn((self.sidecar.who(),), innocent, endpoint=(PARTNER, PORT))
