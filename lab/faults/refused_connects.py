"""Nothing listens where a client connects: refused at once, fifty times a second. That is an answer, and no hang.

The kernel drops the entry of a refused connection at once, so the table stays empty.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import connect_anew
from lab.look import Sight, tcp_counter
from lab.node import Node
from lab.table import TableCase

LIMIT = 5000
SERVER = "203.0.113.80"


class RefusedConnects(TableCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.client = self.stage.play(self.client_pod, "prober", connect_anew, [(SERVER, 81)], 50, 1)

    def look(self) -> Sight:
        refused = tcp_counter(self.client_pod.netns, "AttemptFails")
        return Sight(refused >= 50, f"{refused} refused; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(rule=None, beside=("connect-refused",), innocent=(self.client.who(),))
