"""Who opened the connections has ended, and a helper that it left behind still holds them, without knowing of it.

A nightly job opens forty downloads, starts a helper (sleep, as a watchdog) and ends. The sockets were made without
close-on-exec, so the helper has them all: it has never read a byte, knows nothing of them, and keeps them for as long
as it lives. The program whose code is wrong is gone; its supervisor, who is left, never had one of these sockets.
"""

from __future__ import annotations

import os
import socket
import subprocess

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, descriptors, never_read
from lab.servers import nginx
from lab.stage import session
from lab.who import Who

DOWNLOADS = 40
ASK = b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n"


def supervise(address: str) -> None:
    if (job := os.fork()) == 0:
        run_job(address)
        os._exit(0)
    os.waitpid(job, 0)
    print("the job has ended", flush=True)
    rest()


def run_job(address: str) -> None:
    downloads = []
    for _ in every(0.05, times=DOWNLOADS):
        connection = socket.create_connection((address, 80))
        connection.sendall(ASK)
        connection.set_inheritable(True)
        downloads.append(connection)
    subprocess.Popen(["sleep", "3600"], close_fds=False)


class LeakInheritedByChild(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.supervisor = self.stage.play(self.client_pod, "supervisor", supervise, self.server_pod.address)

    def look(self) -> Sight:
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=DOWNLOADS)
        ended = "the job has ended" in self.supervisor.log.read_text()
        own, left = descriptors(frozenset({self.supervisor.pid}), "socket:"), descriptors(self.helper, "socket:")
        there = sight.there and ended and own == 0 and left == DOWNLOADS
        return Sight(there, f"{sight.seen}; sockets of the supervisor: {own}, of what the job left: {left}")

    @property
    def helper(self) -> frozenset[int]:
        return frozenset(session(self.supervisor.pid)) - {self.supervisor.pid}

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # forty, and they become no more
            culprits=(Who("sleep", self.helper),),
            innocent=(self.server.who(), Who("supervisor", frozenset({self.supervisor.pid}))),
            endpoint=(self.server_pod.address, 80),
        )
