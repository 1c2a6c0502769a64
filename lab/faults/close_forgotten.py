"""The server closes idle connections, and the client never does its half: CLOSE_WAIT, more each second.

Uvicorn closes a kept-alive connection after one idle second. The client reads every response to its end, makes a new
connection for each request and keeps the old objects in a list: twenty a second, none ever closed.
"""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, sockstat
from lab.servers import uvicorn


def ask(address: str, pause_seconds: float) -> None:
    connections = []
    for _ in every(pause_seconds, times=5000):
        connection = HTTPConnection(address, 8000)
        connection.request("GET", "/")
        connection.getresponse().read()
        connections.append(connection)
    rest()


class CloseForgotten(Case):
    kind = "fault"
    pause_seconds = 0.05
    window_seconds = 15
    age_seconds = 45

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = uvicorn(self.stage, self.server_pod, 8000, keep_alive_seconds=1)
        self.client = self.stage.play(self.client_pod, "price-feed", ask, self.server_pod.address, self.pause_seconds)

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=8000)
        return Sight(len(waiting) >= 50, f"{waiting} in CLOSE-WAIT, sockstat alloc {sockstat()['alloc']}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("close-forgotten",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 8000),
        )
