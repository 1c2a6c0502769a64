"""A server in a real pod that somebody paused (`ctr task pause`) and forgot: its kernel goes on taking connections.

Until the accept queue is full callers are connected and wait for an answer; after that no connect is answered. That the
server is frozen has to be said, with its pod; as with a frozen reader, the program is not to blame.
"""

from __future__ import annotations

from pathlib import Path

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named, serve_in_turn
from lab.containerd import Containerd
from lab.look import Sight, connections, wait_until
from lab.node import Node

PORT, BACKLOG = 8080, 8


class AcceptPodPaused(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (client,) = self.node.pods
        self.containerd = Containerd(self.stage, self.node)
        self.server = self.containerd.play("orders", "orders", serve_in_turn, PORT, BACKLOG, 0.01)
        self.client = self.stage.play(client, "checkout", call, [(self.server.address, PORT)], 10, 2)
        wait_until(lambda: len(calls(self.client).where(ANSWERED)) >= 10, 10, self.stage.logs)
        self.containerd.pause(self.server)

    def look(self) -> Sight:
        netns = Path(f"/proc/{self.server.pid}/ns/net")
        (listener,) = connections(netns).where("LISTEN", local_port=PORT)
        made, state = calls(self.client), self.containerd.state(self.server)
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        seen = f"{made}; {listener.unread} in a queue of {listener.unsent}; containerd says {state}"
        return Sight(len(gave_up) >= 20 and listener.unread > BACKLOG and state == "PAUSED", seen)

    def expected(self) -> Expected:
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            innocent=(self.client.who(), self.server.who()),
            others=(Named(self.server.who(state="frozen"), ("reader", "holder", "peer")), named(self.client)),
        )
