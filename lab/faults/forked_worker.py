"""A leak in a prefork program: master and worker share the same sockets.

The master opens streams while it loads the application, and forks; the worker inherits them and opens more of its own.
Each inherited socket is in two descriptor tables and has to be counted once. Either process is a right answer.
"""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPResponse

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, descriptors, never_read
from lab.servers import nginx


def subscribe(address: str, times: int) -> list[HTTPResponse]:
    streams = []
    for _ in every(0.1, times):
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        streams.append(connection.getresponse())
    return streams


def preload(address: str) -> None:
    streams = subscribe(address, 20)
    if os.fork() == 0:
        streams += subscribe(address, 30)
    rest()


class ForkedWorker(Case):
    kind = "fault"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "prefork", preload, self.server_pod.address)

    def look(self) -> Sight:
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=50)
        held = descriptors(self.client.who().pids, "socket:")
        return Sight(sight.there and held >= 70, f"{sight.seen}; {held} descriptors in {self.client.who()}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
        )
