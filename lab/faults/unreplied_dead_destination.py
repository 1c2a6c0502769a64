"""Attempts to reach a machine that is gone fill the table: each is kept for two minutes without an answer.

A pod pushes metrics to an address behind which nobody is, gives up after a second, and tries again, hundreds of times a
second. That nobody answers there may be said too; a full table has not caused it.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import connect_anew
from lab.look import Sight
from lab.node import BLACK_HOLE, Node
from lab.table import TableCase

LIMIT = 4000
PORT = 9091


class UnrepliedDeadDestination(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        targets = [(BLACK_HOLE, PORT)]
        self.client = self.stage.play(self.client_pod, "metrics-push", connect_anew, targets, 800, 1)

    def look(self) -> Sight:
        waiting = self.table.entries.where("SYN_SENT", destination=BLACK_HOLE, port=PORT, replied=False)
        return Sight(len(waiting) >= 0.9 * LIMIT, f"{waiting}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            also=("service-hang",),
            shapes=("unreplied",),
            culprits=(self.client.who(),),
            endpoint=(BLACK_HOLE, PORT),
        )
