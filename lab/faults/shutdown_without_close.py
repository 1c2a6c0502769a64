"""A program ends each of its connections by shutdown() and closes none: dead sockets behind a screen of TIME_WAIT.

Many take the one call for the other. Both ends have said goodbye, nginx has closed, and what ss shows is what every
busy client leaves behind for a minute. But a descriptor and a socket of the kernel stay with each, twenty more a
second, and belong to no connection any more.
"""

from __future__ import annotations

import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.load import REQUEST
from lab.look import Sight, connections, descriptors, sockstat
from lab.servers import nginx


def deliver(address: str) -> None:
    ended = []
    for _ in every(0.05, times=5000):
        ended.append(connection := socket.create_connection((address, 80)))
        connection.sendall(REQUEST)
        connection.recv(4096)
        connection.shutdown(socket.SHUT_RDWR)
    rest()


class ShutdownWithoutClose(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, server = self.stage.pods("client", "server")
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.client_pod, "courier", deliver, server.address)

    def look(self) -> Sight:
        """More descriptors than connections which have an owner, by far."""
        seen, held = connections(self.client_pod.netns), descriptors(self.client.who().pids, "socket:")
        gone = seen.where("TIME-WAIT", peer_port=80)
        there = held >= 100 and len(seen) - len(gone) < 5
        return Sight(there, f"{held} sockets held; ss: {gone} in TIME-WAIT of {seen}; alloc {sockstat()['alloc']}")

    def expected(self) -> Expected:
        return Expected(rule="socket-leak", culprits=(self.client.who(),), innocent=(self.server.who(),))
