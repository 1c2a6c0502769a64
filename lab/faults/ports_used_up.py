"""A client that keeps every connection it opens, until no local port is left towards its server, and tries on.

The range is small (200 ports), so that it does not take tens of thousands of connections.
"""

from __future__ import annotations

import select
import socket

from lab.actor import every
from lab.case import CONNECTION_RULES, Case, Expected, Named
from lab.look import Sight, connections
from lab.stage import inside

PORTS = 200
RANGE = f"net.ipv4.ip_local_port_range=40000 {40_000 + PORTS - 1}"


def serve(*ports: int) -> None:
    """Accepts and keeps everything."""
    listeners, held = [socket.create_server(("", int(port)), backlog=500) for port in ports], []
    while True:
        for ready in select.select(listeners, [], [])[0]:
            held.append(ready.accept()[0])


def hoard(address: str, wanted: int, *ports: int) -> None:
    """wanted: connections to each port. It goes on trying for those that it did not get, twenty times a second."""
    held: dict[int, list[socket.socket]] = {port: [] for port in ports}
    for _ in every(0.05, times=60_000):
        for port in ports:
            for _ in range(wanted - len(held[port])):
                try:
                    held[port].append(socket.create_connection((address, port)))
                except OSError:
                    break


class PortsUsedUp(Case):
    kind = "fault"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    age_seconds = 0

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        inside(self.client_pod, "sysctl", "-qw", RANGE)
        self.server = self.stage.play(self.server_pod, "server", serve, 80)
        self.client = self.stage.play(self.client_pod, "hoarder", hoard, self.server_pod.address, PORTS + 50, 80)

    def look(self) -> Sight:
        seen = connections(self.client_pod.netns)
        held = len(seen.where("ESTAB", peer_port=80))
        return Sight(held == PORTS, f"{held} of {PORTS} ports are taken")

    def expected(self) -> Expected:
        return Expected(
            rule="port-exhaustion",
            also=("connect-refused",),
            shapes=("open",),
            others=(Named(self.client.who(), ("holder",)), Named(self.client.who(), ("victim",))),
            innocent=(self.server.who(),),
        )
