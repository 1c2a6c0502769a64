"""A client that stops a download in its middle every other second, beside ten requests a second that are read.

It closes with unread data, and so by a reset; it wanted no more.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWERED, NEVER, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


def look_at_the_beginning(address: str) -> None:
    for _ in every(2, times=int(NEVER)):
        with socket.create_connection((address, 80)) as connection:
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n")
            connection.recv(1000)


class ResetClientAbortsSeldom(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.reader = self.stage.play(client, "previewer", look_at_the_beginning, server.address)
        self.client = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[0].netns, "OutRsts")
        return Sight(sent >= 1 and made.share(ANSWERED) == 1, f"{made}; {sent} resets sent by the client's namespace")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.reader.who(), self.client.who(), self.server.who()))
