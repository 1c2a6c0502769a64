"""A load test as hard as it can: wrk keeps two hundred connections to nginx busy, thousands of requests a second.

All CPUs are taken and every answer is read. The server is as busy as can be, and well.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import counter
from lab.look import Sight, connections
from lab.servers import nginx, wrk

CONNECTIONS = 200


class LoadTestOfNginx(Case):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = wrk(self.stage, self.client_pod, f"http://{self.server_pod.address}/small", CONNECTIONS)
        self.segments = 0

    def look(self) -> Sight:
        """Between two looks many thousand segments have come to the server."""
        before, self.segments = self.segments, counter(self.server_pod.netns, "InSegs")
        busy = connections(self.client_pod.netns).where("ESTAB", peer_port=80)
        there = len(busy) == CONNECTIONS and before > 0 and self.segments - before > 1000
        return Sight(there, f"{busy} established; {self.segments - before} segments to the server since")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
