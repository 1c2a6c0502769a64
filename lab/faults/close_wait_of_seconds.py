"""CLOSE_WAIT of two seconds under load: a reaper closes every connection three seconds after its use.

Fifty requests a second, a server that closes after one idle second: there are always about a hundred sockets in
CLOSE_WAIT, and none of them is older than two seconds.
"""

from __future__ import annotations

from collections import deque
from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import uvicorn

RATE = 50
KEPT = 3 * RATE


def ask(address: str) -> None:
    used: deque[HTTPConnection] = deque()
    for _ in every(1 / RATE, times=100_000):
        connection = HTTPConnection(address, 8000)
        connection.request("GET", "/")
        connection.getresponse().read()
        used.append(connection)
        if len(used) > KEPT:
            used.popleft().close()
    rest()


class CloseWaitOfSeconds(Case):
    kind = "look-alike"
    window_seconds = 10
    age_seconds = 40

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = uvicorn(self.stage, self.server_pod, 8000, keep_alive_seconds=1)
        self.client = self.stage.play(self.client_pod, "caller", ask, self.server_pod.address)

    def look(self) -> Sight:
        seen = connections(self.client_pod.netns)
        waiting = seen.where("CLOSE-WAIT", peer_port=8000)
        return Sight(len(waiting) >= RATE, f"{waiting} in CLOSE-WAIT, {seen} in all")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
