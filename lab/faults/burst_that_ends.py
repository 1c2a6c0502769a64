"""A burst of connections that ends: a hundred more each second for ten seconds, and then all are closed.

The window begins while they grow, and is long enough to see the end.
"""

from __future__ import annotations

import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import nginx


def rush(address: str) -> None:
    burst = []
    for _ in every(0.01, times=1000):
        connection = socket.create_connection((address, 80))
        connection.sendall(b"GET /small HTTP/1.1\r\nHost: lab\r\n\r\n")
        connection.recv(4096)
        burst.append(connection)
    for connection in burst:
        connection.close()
    rest()


class BurstThatEnds(Case):
    kind = "look-alike"
    window_seconds = 30
    age_seconds = 0

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "importer", rush, self.server_pod.address)

    def look(self) -> Sight:
        burst = connections(self.client_pod.netns).where("ESTAB", peer_port=80)
        return Sight(len(burst) >= 200, f"{burst} established and growing")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
