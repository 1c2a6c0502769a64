"""Many sockets with little memory beside few with much: only the few are the leak.

A gateway keeps 800 idle connections, rightly. A small exporter has fifteen, each with a response it never reads.
"""

from __future__ import annotations

import socket

from lab.actor import rest
from lab.case import Case, Expected
from lab.faults.two_leaks import check_health
from lab.look import Sight, connections, never_read
from lab.servers import nginx


def keep(address: str) -> None:
    kept = [socket.create_connection((address, 80)) for _ in range(800)]
    for connection in kept:
        connection.sendall(b"GET /small HTTP/1.1\r\nHost: lab\r\n\r\n")
        connection.recv(4096)
    rest()


class FewWithMuch(Case):
    kind = "fault"

    def start(self) -> None:
        self.gateway_pod, self.exporter_pod, self.server_pod = self.stage.pods("gateway", "exporter", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.gateway = self.stage.play(self.gateway_pod, "gateway", keep, self.server_pod.address)
        self.exporter = self.stage.play(self.exporter_pod, "exporter", check_health, self.server_pod.address, 15)

    def look(self) -> Sight:
        many = connections(self.gateway_pod.netns).where("ESTAB", peer_port=80)
        few = never_read(self.exporter_pod.netns, self.server_pod.netns, 80, at_least=15)
        return Sight(few.there and len(many) == 800, f"gateway {many}; exporter: {few.seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),
            shapes=("response-never-read",),
            culprits=(self.exporter.who(),),
            innocent=(self.gateway.who(), self.server.who()),
        )
