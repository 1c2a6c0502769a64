"""Processes that ended and left their send queues to the kernel; the peer on this node does not read.

A batch job pushes its report to a collector, gives up after a second and exits. The kernel keeps trying to deliver:
the sockets are orphans, which no process owns. The collector accepted every connection and reads none of them: it is
the cause, with a small part of the memory.
"""

from __future__ import annotations

import contextlib
import os
import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, sockstat
from lab.servers import up
from lab.stage import Pod

PORT = 5140
RUNS = 150


def collect() -> None:
    server = socket.create_server(("", PORT), backlog=1024)
    accepted = []
    while True:
        accepted.append(server.accept())


def push(address: str) -> None:
    """cron: every run is a process of its own."""
    for _ in every(0.05, times=RUNS):
        if os.fork() == 0:
            connection = socket.create_connection((address, PORT), timeout=1)
            with contextlib.suppress(TimeoutError):
                connection.sendall(bytes(4_000_000))
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    for _ in range(RUNS):
        with contextlib.suppress(ChildProcessError):
            os.wait()
    rest()


def left_behind(pod: Pod) -> Sight:
    orphans = connections(pod.netns).where("FIN-WAIT-1", peer_port=PORT).unsent
    stat = sockstat()
    return Sight(
        len(orphans) == RUNS and stat["orphan"] >= len(orphans),
        f"{orphans} in FIN-WAIT-1 with full send queues, sockstat orphan {stat['orphan']} mem {stat['mem']}",
    )


class OrphansPeerNeverReads(Case):
    kind = "fault"

    def start(self) -> None:
        self.batch_pod, self.collector_pod = self.stage.pods("batch", "collector")
        self.collector = self.stage.play(self.collector_pod, "collector", collect)
        up(self.stage, self.collector_pod, self.collector, PORT)
        self.batch = self.stage.play(self.batch_pod, "batch", push, self.collector_pod.address)

    def look(self) -> Sight:
        return left_behind(self.batch_pod)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read", "orphans"),
            culprits=(self.collector.who(),),
            innocent=(self.batch.who(),),
        )
