"""Sockets that are made and never connected (the task queue of incident 1).

The author makes the socket first and looks the name up afterwards; the lookup fails, the exception is logged, and the
socket stays in the object that is tried again. ss does not show such sockets: they are only in /proc/<pid>/fd, and in
the machine's `alloc`.
"""

from __future__ import annotations

import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors, sockstat


def deliver() -> None:
    attempts = []
    for _ in every(0.05, times=5000):
        attempts.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            socket.getaddrinfo("no such queue", 5672)
        except OSError:
            continue
    rest()


class NeverConnected(Case):
    kind = "fault"
    window_seconds = 20

    def start(self) -> None:
        (self.pod,) = self.stage.pods("pod")
        self.client = self.stage.play(self.pod, "task-queue", deliver)

    def look(self) -> Sight:
        made = descriptors(self.client.who().pids, "socket:")
        visible = connections(self.pod.netns)
        return Sight(
            made >= 100 and len(visible) == 0,
            f"{made} socket descriptors, {visible} visible to ss, sockstat alloc {sockstat()['alloc']}",
        )

    def expected(self) -> Expected:
        return Expected(rule="socket-leak", shapes=("never-connected",), culprits=(self.client.who(),))
