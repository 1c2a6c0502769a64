"""A server that was stopped for some seconds and goes on: its queue had been full, and since then it answers at once.

The counters of its pod (ListenOverflows, ListenDrops) say for ever that connects were lost, and the log of its
caller is full of time-outs. That was before; now no call fails, and nobody has anything to repair.
"""

from __future__ import annotations

import os
import signal

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, counter, serve_in_turn
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import up

PORT, BACKLOG = 8080, 8
ENOUGH = 30


class AcceptQueueWasStuck(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.dropped = 0
        self.server = self.stage.play(server, "orders", serve_in_turn, PORT, BACKLOG, 0.005)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)
        wait_until(lambda: len(calls(self.client)) >= ENOUGH, 10, self.stage.logs)
        os.kill(self.server.pid, signal.SIGSTOP)
        wait_until(lambda: self.gave_up() >= ENOUGH, 20, self.stage.logs)
        os.kill(self.server.pid, signal.SIGCONT)

    def gave_up(self) -> int:
        return len(calls(self.client).where(GAVE_UP, at_least_seconds=STEP_SECONDS))

    def look(self) -> Sight:
        """Nothing was dropped since the look before, and the last calls were answered."""
        before, self.dropped = self.dropped, counter(self.node.pods[1].netns, "ListenOverflows")
        (listener,) = connections(self.node.pods[1].netns).where("LISTEN", local_port=PORT)
        last = {call.outcome for call in calls(self.client)[-2 * ENOUGH :]}
        there = before == self.dropped >= ENOUGH and last == {ANSWERED} and listener.unread < BACKLOG
        return Sight(there, f"{self.dropped} dropped, {before} before; of late {last}; {listener.unread} in the queue")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("accept-queue",), innocent=parts, bystanders=parts)
