"""Short connections, a hundred a second, each closed properly: thousands of TIME_WAIT, which cost next to nothing."""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import nginx


def ask(address: str) -> None:
    for _ in every(0.01, times=100_000):
        connection = HTTPConnection(address)
        connection.request("GET", "/small")
        connection.getresponse().read()
        connection.close()
    rest()


class TimeWaitOnly(Case):
    kind = "look-alike"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "caller", ask, self.server_pod.address)

    def look(self) -> Sight:
        seen = connections(self.client_pod.netns)
        waiting = seen.where("TIME-WAIT", peer_port=80)
        return Sight(
            len(waiting) >= 1000 and len(seen) - len(waiting) < 5,
            f"{waiting} in TIME-WAIT, {len(seen) - len(waiting)} others",
        )

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
