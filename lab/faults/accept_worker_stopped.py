"""The only worker of a gunicorn is stopped (SIGSTOP) and accepts nothing; its master has the same listener, and lives.

It has been told to wait long for a worker, so that it does not end this one.
"""

from __future__ import annotations

import os
import signal

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, counter, named
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import gunicorn
from lab.stage import session, status

PORT, BACKLOG = 8080, 8


class AcceptWorkerStopped(ConnectCase):
    kind = "fault"
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = gunicorn(self.stage, server, PORT, "--backlog", str(BACKLOG), "--timeout", "600")
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 10, 2)
        wait_until(lambda: len(calls(self.client).where(ANSWERED)) >= 10, 10, self.stage.logs)
        (self.worker,) = {*session(self.server.pid)} - {self.server.pid}
        os.kill(self.worker, signal.SIGSTOP)

    def look(self) -> Sight:
        made, states = calls(self.client), (status(self.server.pid), status(self.worker))
        (listener,) = connections(self.node.pods[1].netns).where("LISTEN", local_port=PORT)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        seen = f"{made}; {listener.unread} in a queue of {listener.unsent}, full for {dropped} packets; {states}"
        return Sight(len(gave_up) >= 20 and listener.unread > BACKLOG and states[1] == "T", seen)

    def expected(self) -> Expected:
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            shapes=("stuck",),
            culprits=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client),),
        )
