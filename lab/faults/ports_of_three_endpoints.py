"""As many connections as in ports_used_up and more, but to three ports of the server: each has local ports left."""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.faults.ports_used_up import PORTS, RANGE, hoard, serve
from lab.look import Sight, connections
from lab.stage import inside

EACH = 100


class PortsOfThreeEndpoints(Case):
    kind = "look-alike"
    rules = ("port-exhaustion", *CONNECTION_RULES)

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        inside(self.client_pod, "sysctl", "-qw", RANGE)
        self.server = self.stage.play(self.server_pod, "server", serve, 80, 81, 82)
        self.client = self.stage.play(self.client_pod, "hoarder", hoard, self.server_pod.address, EACH, 80, 81, 82)

    def look(self) -> Sight:
        held = len(connections(self.client_pod.netns).where("ESTAB"))
        return Sight(held >= 3 * EACH > PORTS, f"{held} connections with {PORTS} ports")

    def expected(self) -> Expected:
        return Expected(rule=None, cleared=("port-exhaustion",), innocent=(self.server.who(), self.client.who()))
