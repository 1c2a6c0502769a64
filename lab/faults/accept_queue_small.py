"""A gunicorn with a backlog of 3, and ten clients at a time: for half of them there is no room.

It has time enough (30 ms a request, 12.5 requests a second); those who found no room send their SYN again after a
second. The queue is only small, and its owner neither stuck nor slow.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWERED, STEP_SECONDS, ConnectCase, call, calls, counter, named
from lab.look import Sight
from lab.node import Node
from lab.servers import gunicorn

PORT = 8080


class AcceptQueueSmall(ConnectCase):
    kind = "fault"
    rules = QUEUE_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        short = ("--threads", "1", "--backlog", "3")
        self.server = gunicorn(self.stage, server, PORT, *short, answer_after_seconds=0.03)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 12.5, 20, 10)

    def look(self) -> Sight:
        made = calls(self.client)
        slow = made.where(ANSWERED, at_least_seconds=STEP_SECONDS)
        dropped = counter(self.node.pods[1].netns, "ListenOverflows")
        seen = f"{made}; {len(slow)} took a second or more; the queue was full for {dropped} packets"
        return Sight(len(slow) >= 10 and dropped >= len(slow), seen)

    def expected(self) -> Expected:
        return Expected(
            rule="accept-queue",
            also=("connect-slow",),
            severities=("warning",),
            shapes=("small",),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(Named(self.server.who(), ("holder", "culprit")), named(self.client)),
        )
