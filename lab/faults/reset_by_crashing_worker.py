"""A server whose worker crashes at every third upload, in the middle of it, and is started again at once.

The master keeps the listener, so nobody is refused; the worker's connection dies with it, and by a reset, as it has
unread data. A worker that has crashed is known by the name that it had.
"""

from __future__ import annotations

import os
import re
import socket

from lab.case import Expected, Named
from lab.connects import ANSWER, ConnectCase, call, calls, counter, named
from lab.look import Sight
from lab.node import Node
from lab.servers import up
from lab.who import Who

PORT, BODY_BYTES = 8080, 64_000


def serve_with_workers() -> None:
    listener = socket.create_server(("", PORT), backlog=100)
    while True:
        if not (worker := os.fork()):
            take_uploads(listener)
        os.waitpid(worker, 0)


def take_uploads(listener: socket.socket) -> None:
    print("worker", os.getpid(), flush=True)
    for number in range(1, 4):
        with listener.accept()[0] as connection:
            taken = len(connection.recv(1000))
            if number == 3:
                os._exit(139)
            while taken < BODY_BYTES and (data := connection.recv(100_000)):
                taken += len(data)
            connection.sendall(ANSWER)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(100_000):
                pass


class ResetByCrashingWorker(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "uploads", serve_with_workers)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "backup", call, [(server.address, PORT)], 20, 5, 1, BODY_BYTES)

    @property
    def processes(self) -> Who:
        """Master and all workers there have been."""
        workers = re.findall(r"^worker (\d+)$", self.server.log.read_text(), re.MULTILINE)
        return Who(self.server.comm, self.server.who().pids | {*map(int, workers)})

    def look(self) -> Sight:
        made = calls(self.client)
        workers = len(self.processes.pids) - 1
        closed = counter(self.node.pods[1].netns, "TCPAbortOnClose")
        there = len(made) >= 20 and 0.2 < made.share("ECONNRESET") < 0.5
        return Sight(there, f"{made}; {workers} workers; {closed} connections closed with unread data")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            tolerated=(self.processes,),
            innocent=(self.client.who(),),
            others=(named(self.client), Named(self.processes, ("culprit", "holder", "peer"))),
            endpoint=(self.node.pods[1].address, PORT),
        )
