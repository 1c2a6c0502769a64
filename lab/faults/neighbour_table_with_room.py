"""A pod sends to addresses that nobody has, in a network of which the node's table has room for all.

The same as a flood, but for the room: it costs the pod its own connects, and nobody else anything.
"""

from __future__ import annotations

import subprocess

from lab.case import NEIGHBOUR_RULES, Case, Expected
from lab.faults.neighbour_table_flood import join_silent_network, overflows, sweep
from lab.look import Sight


class NeighbourTableWithRoom(Case):
    kind = "look-alike"
    rules = NEIGHBOUR_RULES

    def start(self) -> None:
        self.client_pod, self.other_pod = self.stage.pods("client", "other")
        join_silent_network(self.client_pod)
        self.before = overflows()
        self.client = self.stage.play(self.client_pod, "inventory", sweep, 120, 40)

    def look(self) -> Sight:
        command = ["nsenter", f"--net={self.client_pod.netns}", "ip", "-4", "neighbour", "show", "dev", "flat0"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        unanswered = sum(line.split()[-1] in ("INCOMPLETE", "FAILED") for line in lines)
        there = unanswered > 60 and overflows() == self.before
        return Sight(there, f"{unanswered} addresses of {len(lines)} have no answer; the table had room for all")

    def expected(self) -> Expected:
        return Expected(rule=None, cleared=("neighbour-table",), innocent=(self.client.who(),))
