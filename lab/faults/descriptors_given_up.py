"""A program that may open no descriptor any more, because it has said so itself: it has all that it needs.

Such is a sandbox (sshd's child before the log-in does it): take what is wanted, then setrlimit(RLIMIT_NOFILE, 0). This
one has twenty connections, of which each is asked twice a second and answered. It has more descriptors than it may
have, nobody waits for it, and nothing fails.
"""

from __future__ import annotations

import resource
import selectors
import socket

from lab.case import LIMIT_RULES, Case, Expected
from lab.connects import ANSWER
from lab.load import keep_busy
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT, CONNECTIONS = 8080, 20


def serve() -> None:
    waiting = selectors.EpollSelector()
    with socket.create_server(("", PORT), backlog=100) as listener:
        for _ in range(CONNECTIONS):
            connection, _ = listener.accept()
            waiting.register(connection, selectors.EVENT_READ, connection)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    while True:
        for key, _ in waiting.select():
            key.data.recv(4096)
            key.data.sendall(ANSWER)


class DescriptorsGivenUp(Case):
    kind = "look-alike"
    rules_unread = True
    rules = LIMIT_RULES

    def start(self) -> None:
        client, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "sandboxed", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(client, "shop", keep_busy, self.server_pod.address, PORT, CONNECTIONS, 0.5)
        self.acked = 0

    def look(self) -> Sight:
        """Its limit is none at all, and on each connection it goes on to answer."""
        most, _ = resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE)
        held = descriptors(self.server.who().pids, "socket:")
        acked = sum(c.acked for c in connections(self.server_pod.netns).where("ESTAB", local_port=PORT))
        moved, self.acked = acked - self.acked, acked
        there = held == CONNECTIONS and most == 0 and moved > 0
        return Sight(there, f"{held} sockets, and it may open {most}; {moved} bytes of answers acked since")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
