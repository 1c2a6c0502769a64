"""A proxy told to use one source address binds before it connects, and so shares its ports among all its servers.

The kernel has to choose the port before it knows the server (ip(7), IP_BIND_ADDRESS_NO_PORT), so that each is taken for
all of them. Two hundred ports are gone with some seventy connections to each of three servers. Whoever counts
connections by server finds two thirds of the range free for each, and blames the servers.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import CONNECTION_RULES, Case, Expected, Named
from lab.faults.ports_used_up import PORTS, RANGE, serve
from lab.look import Sight, connections
from lab.stage import inside

SERVERS = (80, 81, 82)
FAILED = "Address already in use"


def relay(own: str, address: str) -> None:
    """Twenty connections a second, each kept, to one server after the other."""
    held = []
    for number in every(0.05, times=60_000):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.bind((own, 0))
            connection.connect((address, SERVERS[number % len(SERVERS)]))
            held.append(connection)
        except OSError as error:
            print(error, flush=True)
            connection.close()


class PortsUsedUpByBind(Case):
    kind = "fault"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("proxy", "server")
        inside(self.client_pod, "sysctl", "-qw", RANGE)
        self.server = self.stage.play(self.server_pod, "server", serve, *SERVERS)
        self.client = self.stage.play(self.client_pod, "proxy", relay, self.client_pod.address, self.server_pod.address)

    def look(self) -> Sight:
        seen = connections(self.client_pod.netns).where("ESTAB")
        each = [len(seen.where(peer_port=port)) for port in SERVERS]
        failed = self.client.log.read_text().count(FAILED)
        there = len(seen) >= PORTS - 2 and max(each) < PORTS / 2 and failed >= 20
        return Sight(there, f"{len(seen)} of {PORTS} ports are taken, by server: {each}; {failed} times no port")

    def expected(self) -> Expected:
        return Expected(
            rule="port-exhaustion",
            severities=("warning", "critical"),
            tolerated=(self.client.who(),),
            innocent=(self.server.who(),),
            bystanders=(self.server.who(),),
            others=(Named(self.client.who(), ("culprit", "holder", "victim")),),
        )
