"""Incident 5 with Uvicorn in a real pod: the caller in another pod fails only after a pause of more than 5 s.

Uvicorn closes what was idle for 5 s. The client's pool (http.client) does not look, asks on the dead connection, is
reset, and succeeds at once on a new one. The time has to be told with the pod that closes; a second caller in a real
pod never pauses for as long as that, and has no trouble.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection
from statistics import median

from lab.case import Expected, Named
from lab.containerd import Containerd
from lab.keepalive import CLIENT_ROLES, SERVER_ROLES, TOLERANCE, WatchedCase
from lab.look import Sight, listening, wait_until
from lab.node import Node
from lab.pools import stopwatch, told, with_http_client
from lab.servers import serve_uvicorn

PORT, CONNECTIONS, IDLE = 8000, 20, (5.2, 6.5)
ANY = "0.0.0.0"


def keep_asking(address: str) -> None:
    """One connection, a request each second: never idle for as long as it may be."""
    connection = HTTPConnection(address, PORT, timeout=10)
    while True:
        connection.request("GET", "/small")
        connection.getresponse().read()
        time.sleep(1)


class KeepaliveUvicornInContainerdPod(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (5.0, 5.0)

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.containerd = Containerd(self.stage, self.node)
        self.server = self.containerd.play("prices", "uvicorn", serve_uvicorn, ANY, PORT, 5, 0.0)
        wait_until(lambda: listening(self.server.netns, PORT), 30, self.stage.logs)
        address = self.server.address
        self.steady = self.containerd.play("steady", "steady", keep_asking, address)
        self.watch = self.stage.play(self.client_pod, "stopwatch", stopwatch, address, PORT, 5)
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, [address], PORT, CONNECTIONS, IDLE)

    def look(self) -> Sight:
        return self.measured(self.failing(self.client, self.client_pod.netns))

    def expected(self) -> Expected:
        waits = median(told(self.watch, "closed"))
        bystanders = (self.watch.who(), self.steady.who())
        return Expected(
            rule="keepalive-mismatch",
            also=("resets",),
            severities=("warning",),
            tolerated=(self.client.who(),),
            innocent=(self.server.who(), *bystanders),
            bystanders=bystanders,
            others=(Named(self.client.who(), CLIENT_ROLES), Named(self.server.who(), SERVER_ROLES)),
            endpoint=(self.server.address, PORT),
            seconds=(waits - TOLERANCE, waits + TOLERANCE),
        )
