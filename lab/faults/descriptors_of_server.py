"""An nginx that may open forty files, and clients which connect ahead of time: soon it cannot accept one more.

Of that there is no sign but its own log: new connections succeed, wait in its accept queue, and nobody answers.
"""

from __future__ import annotations

import socket

from lab.actor import rest
from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.connects import GAVE_UP, call, calls
from lab.look import Sight, connections, descriptors
from lab.servers import nginx
from lab.stage import session

PORT, FILES = 80, 40


def connect_ahead(address: str, port: int, connections: int) -> None:
    """As browsers do: no request yet. One that were answered would need one more file, and be closed for want of it."""
    kept = []
    for _ in range(connections):
        kept.append(socket.create_connection((address, port)))
    rest()


class DescriptorsOfServer(Case):
    kind = "fault"
    rules = LIMIT_RULES
    age_seconds = 2

    def start(self) -> None:
        keeper, client, self.server_pod = self.stage.pods("keeper", "client", "server")
        self.server = nginx(self.stage, self.server_pod, PORT, files=FILES)
        self.keeper = self.stage.play(keeper, "keeper", connect_ahead, self.server_pod.address, PORT, 200)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 10, 2)

    def look(self) -> Sight:
        workers = frozenset(session(self.server.pid)) - {self.server.pid}
        held, made = descriptors(workers, ""), calls(self.client)
        seen = connections(self.server_pod.netns)
        waiting = sum(listener.unread for listener in seen.where("LISTEN", local_port=PORT))
        there = held >= FILES - 2 and waiting >= 5 and len(made.where(GAVE_UP)) >= 10
        return Sight(there, f"{held} of {FILES} descriptors, {waiting} wait to be accepted; {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            also=("accept-queue", "socket-leak", "resets"),
            severities=("warning", "critical"),
            shapes=("exhausted",),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(), self.keeper.who()),
            others=(Named(self.server.who(), ("culprit", "holder")),),
        )
