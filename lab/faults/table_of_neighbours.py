"""Three pods of one workload meet on a node, and together they fill its table (incident 3).

Each opens a quarter or more of all entries; anywhere else one of them would be no trouble. Four pods of other workloads
open little.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.table import TableCase, full_of_churn

LIMIT = 4000
SERVER = "203.0.113.80"


class TableOfNeighbours(TableCase):
    kind = "fault"

    def start(self) -> None:
        pods = self.furnish(LIMIT, *(f"gateway{n}" for n in range(3)), *(f"other{n}" for n in range(4)))
        self.others = [self.stage.play(pod, "shop", ask_anew, SERVER, 80, 2) for pod in pods[3:]]
        self.gateways = [self.stage.play(pod, "gateway", ask_anew, SERVER, 80, 250) for pod in pods[:3]]

    def look(self) -> Sight:
        sight, entries = self.look_by_pod(LIMIT), self.table.entries
        least = min(len(entries.where(source=pod.address)) for pod in self.node.pods[:3])
        return replace(sight, there=sight.there and 4 * least >= len(entries))

    def expected(self) -> Expected:
        return full_of_churn(
            tuple(gateway.who() for gateway in self.gateways),
            (self.server.who(), *(other.who() for other in self.others)),
        )
