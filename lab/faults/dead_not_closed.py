"""Connections which the peer reset, whose descriptors stay open.

The server hangs up without reading the request, so its kernel answers with a reset. The client gets ConnectionReset,
logs it, and tries again with a new socket; the old one is dead, unhashed, invisible to ss, and never closed. That the
server resets is true as well and may be said; it leaks nothing.
"""

from __future__ import annotations

import contextlib
import select
import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors, sockstat
from lab.servers import up


def hang_up() -> None:
    server = socket.create_server(("", 9000), backlog=1024)
    while True:
        connection, _ = server.accept()
        select.select([connection], [], [], 5)  # the request is there, and stays unread
        connection.close()


def try_again(address: str) -> None:
    failed = []
    for _ in every(0.05, times=5000):
        connection = socket.create_connection((address, 9000))
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"LOGIN lab\r\n")
            connection.recv(100)
        failed.append(connection)
    rest()


class DeadNotClosed(Case):
    kind = "fault"
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "full-backend", hang_up)
        up(self.stage, self.server_pod, self.server, 9000)
        self.client = self.stage.play(self.client_pod, "retrier", try_again, self.server_pod.address)

    def look(self) -> Sight:
        held = descriptors(self.client.who().pids, "socket:")
        visible = connections(self.client_pod.netns)
        return Sight(
            held >= 100 and len(visible) < 5,
            f"{held} socket descriptors, {visible} visible to ss, sockstat alloc {sockstat()['alloc']}",
        )

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("dead-not-closed",),
            culprits=(self.client.who(),),
            elsewhere=(("resets", self.server.who()),),
        )
