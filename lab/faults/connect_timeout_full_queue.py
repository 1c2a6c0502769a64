"""A server that hangs and accepts nothing: once its accept queue is full, no connect is answered.

Its callers give up after two seconds. The first ones were connected, and wait for an answer for ever. That nobody
answers stands under its cause, which is the queue.
"""

from __future__ import annotations

import socket

from lab.actor import rest
from lab.case import QUEUE_RULES, Expected
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, answerable, call, calls, counter, named
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import up

PORT = 8080


def hang() -> None:
    listener = socket.create_server(("", PORT), backlog=5)
    assert listener
    rest()


class ConnectTimeoutFullQueue(ConnectCase):
    kind = "fault"
    rules = QUEUE_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", hang)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 10, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        (listener,) = connections(self.node.pods[1].netns).where("LISTEN", local_port=PORT)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        seen = f"{made}; {listener.unread} in a queue of {listener.unsent}; it was full for {dropped} packets"
        return Sight(len(gave_up) >= 20 and listener.unread > listener.unsent, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            also=("accept-queue", "socket-leak"),
            cleared=("syn-queue", "udp-buffers"),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client), answerable(self.server)),
            endpoint=(self.node.pods[1].address, PORT),
            causes=("accept-queue",),
        )
