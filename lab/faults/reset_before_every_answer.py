"""A server whose worker crashes at every request, before it has read it, and is started again at once.

The master keeps the listener, so nobody is refused. All connections end by a reset, as those of a program do that
always closes so (SO_LINGER 0); but nobody ever gets an answer.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace

from lab.case import Expected
from lab.connects import call, calls, counter
from lab.faults.reset_by_crashing_worker import ResetByCrashingWorker
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


def serve_with_workers() -> None:
    listener = socket.create_server(("", PORT), backlog=100)
    while True:
        if not (worker := os.fork()):
            crash_at_a_request(listener)
        os.waitpid(worker, 0)


def crash_at_a_request(listener: socket.socket) -> None:
    print("worker", os.getpid(), flush=True)
    listener.accept()[0].recv(1, socket.MSG_PEEK)
    os._exit(139)


class ResetBeforeEveryAnswer(ResetByCrashingWorker):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve_with_workers)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        closed = counter(self.node.pods[1].netns, "TCPAbortOnClose")
        there = len(made) >= 20 and made.share("ECONNRESET") == 1 and closed >= 20
        return Sight(there, f"{made}; {closed} connections closed with unread data")

    def expected(self) -> Expected:
        return replace(
            super().expected(), severities=("warning",), shapes=("server-resets",), culprits=(self.processes,)
        )
