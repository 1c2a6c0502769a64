"""A program asks "localhost", whose first address is ::1, of a server that listens on 127.0.0.1 alone.

Each request is refused once, by a port on which nothing listens, and answered at the next address at once.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, calls, counter, log, serve
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


def ask_localhost() -> None:
    while True:
        begin = time.monotonic()
        with suppress(ConnectionRefusedError), socket.create_connection(("::1", PORT)):
            raise RuntimeError("nothing is to listen there")
        with socket.create_connection(("127.0.0.1", PORT)) as connection:
            connection.sendall(REQUEST)
            connection.recv(4096)
        log(ANSWERED, time.monotonic() - begin)
        time.sleep(0.05)


class ConnectLocalhostByIpv6First(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (pod,) = self.node.pods
        self.server = self.stage.play(pod, "orders", serve, PORT)
        up(self.stage, pod, self.server, PORT)
        self.client = self.stage.play(pod, "browser", ask_localhost)

    def look(self) -> Sight:
        made, failed = calls(self.client), counter(self.node.pods[0].netns, "AttemptFails")
        return Sight(len(made) >= 20 and failed >= len(made), f"{made}; {failed} connects failed")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
