"""A full table that is nobody's fault: ten pods open about as many connections each. It is too small for this node."""

from __future__ import annotations

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.table import TableCase

LIMIT = 4000
PODS = 10
SERVERS = ("203.0.113.80", "203.0.113.81", "203.0.113.82")


class TableSpreadEvenly(TableCase):
    kind = "fault"

    def start(self) -> None:
        pods = self.furnish(LIMIT, *(f"client{n}" for n in range(PODS)))
        self.clients = [
            self.stage.play(pod, f"service-{n}", ask_anew, SERVERS[n % len(SERVERS)], 80, 80)
            for n, pod in enumerate(pods)
        ]

    def look(self) -> Sight:
        return self.look_by_pod(LIMIT)

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("critical",),
            shapes=("spread",),
            innocent=(self.server.who(), *(client.who() for client in self.clients)),
        )
