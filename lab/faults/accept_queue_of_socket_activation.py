"""A service that is started by its first caller (socket activation): who comes waits until it is there, and no longer.

The listener belongs to a supervisor that never accepts. When somebody connects it starts the service, which needs most
of a second to read its configuration, takes who has waited meanwhile, and ends when nobody has come for a second. So
every five seconds some callers stand in the queue of a program that only sleeps; all of them are answered.
"""

from __future__ import annotations

import os
import select
import socket
import time

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWER, ANSWERED, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT, BACKLOG = 8080, 128
START_SECONDS, IDLE_SECONDS = 0.8, 1.0
BATCH, PER_SECOND = 6, 1.2
"""A batch every five seconds."""


def activate() -> None:
    listener = socket.create_server(("", PORT), backlog=BACKLOG)
    while True:
        select.select([listener], [], [])
        if not (child := os.fork()):
            serve_until_idle(listener)
            os._exit(0)
        print("started", flush=True)
        os.waitpid(child, 0)


def serve_until_idle(listener: socket.socket) -> None:
    time.sleep(START_SECONDS)  # it reads its configuration
    while select.select([listener], [], [], IDLE_SECONDS)[0]:
        connection = listener.accept()[0]
        try:
            connection.recv(4096)
            connection.sendall(ANSWER)
        except OSError:
            pass  # the caller has gone
        finally:
            connection.close()


class AcceptQueueOfSocketActivation(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, self.server_pod = self.node.pods
        self.server = self.stage.play(self.server_pod, "printing", activate)
        up(self.stage, self.server_pod, self.server, PORT)
        to = [(self.server_pod.address, PORT)]
        self.client = self.stage.play(client, "invoices", call, to, PER_SECOND, 20, BATCH)

    def look(self) -> Sight:
        made, started = calls(self.client), self.server.log.read_text().count("started")
        dropped = counter(self.server_pod.netns, "ListenOverflows")
        there = len(made) >= 2 * BATCH and made.share(ANSWERED) == 1 and started >= 2 and not dropped
        return Sight(there, f"{made}; the service was started {started} times; {dropped} dropped")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("accept-queue", "connect-slow"), innocent=parts, bystanders=parts)
