"""Four workers, each with a listener of its own (SO_REUSEPORT), and one of them hangs: a quarter of connects fail.

The kernel gives each connect to one of the four by its addresses and ports, and not to another when that one's queue is
full. Three queues are empty and most callers are answered at once, so the server looks well, and the network does not.
The hanging worker sleeps like its brothers do between two requests: only it accepts nothing.
"""

from __future__ import annotations

import os
import socket
import time
from threading import Lock

from lab.actor import rest
from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWER, ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import up
from lab.who import Who

PORT, BACKLOG, WORKERS = 8080, 8, 4


def serve() -> None:
    for number in range(WORKERS):
        if os.fork() == 0:
            work(hangs=number == 2)
    rest()


def work(hangs: bool) -> None:
    begin, lock = time.monotonic(), Lock()
    listener = socket.create_server(("", PORT), backlog=BACKLOG, reuse_port=True)
    while True:
        with listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(ANSWER)
        if hangs and time.monotonic() - begin > 3:
            print(f"hangs {os.getpid()}", flush=True)
            lock.acquire()
            lock.acquire()


class AcceptOneOfFourWorkers(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)

    @property
    def hanging(self) -> frozenset[int]:
        words = (line.split() for line in self.server.log.read_text().splitlines())
        return frozenset(int(line[1]) for line in words if line[0] == "hangs")

    def look(self) -> Sight:
        made = calls(self.client)
        queues = [one.unread for one in connections(self.node.pods[1].netns).where("LISTEN", local_port=PORT)]
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        one_full = sum(waiting > BACKLOG for waiting in queues) == 1 and sum(queues) <= BACKLOG + 3
        there = len(queues) == WORKERS and one_full and len(gave_up) >= 10 and made.share(ANSWERED) > 0.5
        return Sight(there and len(self.hanging) == 1, f"{made}; {queues} in the queues; {self.hanging} hangs")

    def expected(self) -> Expected:
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            culprits=(Who("orders", self.hanging),),
            innocent=(self.client.who(),),
            others=(named(self.client),),
        )
