"""Thirty-three clients, each of which comes again once it was answered, and a server that takes one after the other.

There are always 32 in a queue of 32, which `ss` shows as full. It has room for one more, who never comes; nobody is
dropped, and each waits its turn.
"""

from __future__ import annotations

import socket
from threading import Thread

from lab.actor import rest
from lab.case import QUEUE_RULES, Expected
from lab.connects import ConnectCase, counter, serve_in_turn
from lab.load import REQUEST
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import up

PORT, BACKLOG = 8080, 32


def ask_again(address: str, clients: int) -> None:
    """Each on a new connection, as soon as the last one was answered and closed."""

    def go_on() -> None:
        while True:
            with socket.create_connection((address, PORT)) as connection:
                connection.sendall(REQUEST)
                while connection.recv(4096):
                    pass

    for _ in range(clients):
        Thread(target=go_on).start()
    rest()


class AcceptQueueAtItsBrim(ConnectCase):
    kind = "look-alike"
    rules = QUEUE_RULES
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve_in_turn, PORT, BACKLOG, 0.02)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", ask_again, server.address, BACKLOG + 1)

    def look(self) -> Sight:
        seen = connections(self.node.pods[1].netns)
        (listener,) = seen.where("LISTEN", local_port=PORT)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        served = len(seen.where("TIME-WAIT", local_port=PORT))
        there = listener.unread >= BACKLOG - 1 and not dropped and served > 100
        return Sight(there, f"{listener.unread} in a queue of {listener.unsent}, {served} served, {dropped} dropped")

    def expected(self) -> Expected:
        return Expected(
            rule=None, cleared=("syn-queue", "connect-slow"), innocent=(self.server.who(), self.client.who())
        )
