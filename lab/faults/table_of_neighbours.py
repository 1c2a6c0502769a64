"""Three pods of one workload meet on a node, and together they fill its table (incident 3).

Each opens a quarter or more of all entries; anywhere else one of them would be no trouble. Four pods of other workloads
open little.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase

LIMIT = 4000
SERVER = "203.0.113.80"


class TableOfNeighbours(TableCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, *(f"gateway{n}" for n in range(3)), *(f"other{n}" for n in range(4)))
        self.stage.conntrack_max(LIMIT)
        self.server = nginx(self.stage, self.node.outside)
        self.others = [self.stage.play(pod, "shop", ask_anew, SERVER, 80, 10) for pod in self.node.pods[3:]]
        self.gateways = [self.stage.play(pod, "gateway", ask_anew, SERVER, 80, 250) for pod in self.node.pods[:3]]

    def look(self) -> Sight:
        entries = self.table.entries
        shares = [len(entries.where(source=pod.address)) for pod in self.node.pods]
        there = self.table.count >= 0.9 * LIMIT and self.table.statistics["drop"] > 0
        return Sight(there, f"{self.table}; by pod: {shares}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("critical",),
            shapes=("churn",),
            culprits=tuple(gateway.who() for gateway in self.gateways),
            innocent=(self.server.who(), *(other.who() for other in self.others)),
        )
