"""The table was full once: the counter of drops is high, the kernel log says so, and nothing is wrong any more."""

from __future__ import annotations

import time

from lab import host
from lab.case import Expected
from lab.load import connect_anew, keep_busy
from lab.look import Sight, wait_until
from lab.node import BLACK_HOLE, Node
from lab.servers import nginx
from lab.stage import end, inside
from lab.table import TableCase

ONCE = 400
SERVER = "203.0.113.80"


class TableWasFull(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.server = nginx(self.stage, self.node.outside)
        with host.changed(host.CONNTRACK_MAX, str(ONCE)):
            flood = self.stage.play(self.client_pod, "flood", connect_anew, [(BLACK_HOLE, 80)], 800, 1)
            wait_until(lambda: self.table.statistics["drop"] > 200, 20, lambda: str(self.table))
            self.stage.players.remove(flood)
            end(flood)
            inside(self.node.host, "conntrack", "-F")
        self.client = self.stage.play(self.client_pod, "shop", keep_busy, SERVER, 80, 100, 2)

    def look(self) -> Sight:
        before = self.table.statistics["drop"]
        time.sleep(0.2)
        drops = self.table.statistics["drop"]
        used = self.table.entries.where("ESTABLISHED", port=80)
        return Sight(drops == before > 200 and len(used) == 100, f"{used}; {self.table}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
