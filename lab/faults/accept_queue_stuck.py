"""A server that listens with a short backlog and never accepts, seen by its queue instead of by its callers.

What its callers meet is a finding too, and stands under this one.
"""

from __future__ import annotations

import socket

from lab.actor import rest
from lab.case import QUEUE_RULES, Expected
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, counter, named
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import up

PORT = 8080


def hang() -> None:
    listener = socket.create_server(("", PORT), backlog=5)
    assert listener
    rest()


class AcceptQueueStuck(ConnectCase):
    kind = "fault"
    rules = QUEUE_RULES
    age_seconds = 6

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
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            shapes=("stuck", "queue-full"),
            cleared=("syn-queue", "udp-buffers"),
            culprits=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client),),
        )
