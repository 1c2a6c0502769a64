"""Thousands of connections that nobody uses: each was asked once and kept.

Their entries stay for five days, and the kernel never makes room by throwing them out.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import keep_idle
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase

LIMIT = 4000
KEPT = 3700
SERVER = "203.0.113.80"


class IdleEstablished(TableCase):
    kind = "fault"
    age_seconds = 58

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.server = nginx(self.stage, self.node.outside)
        self.client = self.stage.play(self.client_pod, "feed-reader", keep_idle, SERVER, 80, KEPT)

    def look(self) -> Sight:
        kept = self.table.entries.where("ESTABLISHED", source=self.client_pod.address, port=80)
        return Sight(len(kept) == KEPT, f"{kept}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            also=("socket-leak",),
            shapes=("idle-established",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(SERVER, 80),
        )
