"""Sockets in flight: sent over a unix socket (SCM_RIGHTS) to a worker that never takes them.

A dispatcher opens connections, sends each one to the worker and closes its own descriptor. The worker hangs.
The sockets are in nobody's descriptor table: no owner can be read anywhere. nginx holds the memory and is innocent, and
so is the dispatcher. Naming the worker would be right, but can not be asked for.
"""

from __future__ import annotations

import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, descriptors, never_read, wait_until
from lab.servers import nginx


def hang(path: str) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    dispatcher, _ = server.accept()
    assert dispatcher
    rest()


def dispatch(path: str, address: str) -> None:
    worker = socket.socket(socket.AF_UNIX)
    worker.connect(path)
    for _ in every(0.05, times=60):
        connection = socket.create_connection((address, 80))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n")
        socket.send_fds(worker, [b"x"], [connection.fileno()])
        connection.close()
    rest()


class InFlight(Case):
    kind = "fault"
    undecidable = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        path = self.stage.directory / "worker.sock"
        self.server = nginx(self.stage, self.server_pod)
        self.worker = self.stage.play(self.client_pod, "hung-worker", hang, str(path))
        wait_until(path.exists, 10, self.stage.logs)
        self.dispatcher = self.stage.play(self.client_pod, "dispatcher", dispatch, str(path), self.server_pod.address)

    def look(self) -> Sight:
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=60)
        held = descriptors(self.dispatcher.who().pids | self.worker.who().pids, "socket:")
        return Sight(sight.there and held < 10, f"{sight.seen}; {held} descriptors at dispatcher and worker")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            also=("socket-leak",),
            tolerated=(self.worker.who(),),
            innocent=(self.server.who(), self.dispatcher.who()),
        )
