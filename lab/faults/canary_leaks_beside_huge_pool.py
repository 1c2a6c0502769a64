"""Two real pods (containerd) of one program, both called api: one has two thousand connections, the other leaks.

The large one keeps its pool for months and uses each connection: it has ten times as many sockets, all to the same
server. The canary asks anew each time (Connection: close), and never closes its half: ten more in CLOSE_WAIT each
second. Whoever counts sockets by name or by server restarts the wrong pod.
"""

from __future__ import annotations

import resource
import socket
from pathlib import Path

from lab.actor import every
from lab.case import Case, Expected
from lab.containerd import Contained, Containerd
from lab.load import keep_busy
from lab.look import Connections, Sight, connections
from lab.node import Node
from lab.servers import nginx

POOL = 2000
REQUEST = b"GET /small HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def keep_pool(address: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    keep_busy(address, 80, POOL, 10)


def ask_and_forget(address: str) -> None:
    kept = []
    for _ in every(0.1, times=900):
        kept.append(connection := socket.create_connection((address, 80)))
        connection.sendall(REQUEST)
        while connection.recv(4096):
            pass


class CanaryLeaksBesideHugePool(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 20
    age_seconds = 20

    def start(self) -> None:
        self.node = Node(self.stage, "server")
        (self.server_pod,) = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.containerd = Containerd(self.stage, self.node)
        self.pool = self.containerd.play("api", "api", keep_pool, self.server_pod.address)
        self.canary = self.containerd.play("api-canary", "api", ask_and_forget, self.server_pod.address)

    def look(self) -> Sight:
        pool, canary = self.seen(self.pool), self.seen(self.canary)
        used, waiting = pool.where("ESTAB", peer_port=80), canary.where("CLOSE-WAIT", peer_port=80)
        there = len(used) == POOL and len(waiting) >= 100 and not pool.where("CLOSE-WAIT")
        return Sight(there, f"pool: {used} established; canary: {waiting} in CLOSE-WAIT of {canary}")

    def seen(self, contained: Contained) -> Connections:
        return connections(Path(f"/proc/{contained.pid}/ns/net"))

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("close-forgotten",),
            culprits=(self.canary.who(),),
            innocent=(self.pool.who(), self.server.who()),
            bystanders=(self.pool.who(),),
            endpoint=(self.server_pod.address, 80),
        )
