"""A server has crashed, and yet its port takes connections: a helper that it left behind has the listener, unknowing.

It started a log shipper (tail -F) and made its sockets without close-on-exec, so the shipper has the listener too, and
lives on. The first callers are connected and wait; since the queue is full all others get no answer, where they should
be refused. Every start anew fails ("Address already in use"), which its supervisor tries for ever. The program whose
code is wrong is gone; who ends the shipper has mended it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from contextlib import suppress

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWER, ANSWERED, GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named
from lab.look import Sight, connections, descriptors
from lab.node import Node
from lab.servers import up
from lab.who import Who

PORT, BACKLOG, LIFE_SECONDS, AGAIN_SECONDS = 8080, 16, 5, 2
SHIPPER, IN_USE = "tail", "Address already in use"


def supervise(written: str) -> None:
    while True:
        if not (child := os.fork()):
            try:
                serve_until_crash(written)
            except OSError as error:
                print(error, flush=True)
            os._exit(1)
        os.waitpid(child, 0)
        time.sleep(AGAIN_SECONDS)  # as it is told to wait


def serve_until_crash(written: str) -> None:
    begin = time.monotonic()
    with socket.create_server(("", PORT), backlog=BACKLOG) as listener:
        listener.set_inheritable(True)
        shipper = subprocess.Popen([SHIPPER, "-F", written], close_fds=False)
        print("shipper", shipper.pid, flush=True)
        while time.monotonic() - begin < LIFE_SECONDS:
            with listener.accept()[0] as connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(ANSWER)
        os._exit(139)


class AcceptQueueLeftToLogShipper(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 4

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, self.server_pod = self.node.pods
        written = self.stage.directory / "orders-access"
        written.touch()
        self.server = self.stage.play(self.server_pod, "orders", supervise, str(written))
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 10, 2)

    @property
    def shipper(self) -> frozenset[int]:
        return frozenset(map(int, re.findall(r"^shipper (\d+)$", self.server.log.read_text(), re.MULTILINE)))

    def look(self) -> Sight:
        made, failed_starts = calls(self.client), self.server.log.read_text().count(IN_USE)
        (listener,) = connections(self.server_pod.netns).where("LISTEN", local_port=PORT)
        own, left = (descriptors(pids, "socket:") for pids in (frozenset({self.server.pid}), self.shipper))
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        last = {one.outcome for one in made[-20:]}
        full = listener.unread > listener.unsent == BACKLOG and left == 1 and own == 0
        there = full and failed_starts >= 2 and made.share(ANSWERED) > 0 and len(gave_up) >= 20 and last == {GAVE_UP}
        seen = f"{listener.unread} in a queue of {listener.unsent}; sockets of supervisor: {own}, of shipper: {left}"
        return Sight(there, f"{seen}; {failed_starts} starts failed; {made}")

    def expected(self) -> Expected:
        """The shipper has the socket: it is to be named, as what has it or as what does not accept."""
        shipper = Who(SHIPPER, self.shipper)
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            tolerated=(shipper,),
            innocent=(self.client.who(), Who(self.server.comm, frozenset({self.server.pid}))),
            others=(named(self.client), Named(shipper, ("culprit", "holder", "reader"))),
        )
