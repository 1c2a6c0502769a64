"""Short jobs, two a second, each with a pool of five connections that it leaves by reset when it ends (SO_LINGER 0).

Every request was answered before that, and the connections were idle: nothing is lost.
"""

from __future__ import annotations

import os
import socket
import time

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWERED, NEVER, ConnectCase, calls, counter, log, reset_at_close
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx

POOL, IDLE_SECONDS = 5, 0.3


def run_jobs(address: str) -> None:
    for _ in every(0.5, times=int(NEVER)):
        if not (job := os.fork()):
            do_one(address)
        os.waitpid(job, 0)


def do_one(address: str) -> None:
    pool = [socket.create_connection((address, 80)) for _ in range(POOL)]
    for connection in pool:
        reset_at_close(connection)
        connection.sendall(REQUEST)
        time.sleep(0.01)
        connection.recv(4096)
        log(ANSWERED, 0)
    time.sleep(IDLE_SECONDS)
    os._exit(0)


class ResetIdlePoolAtExit(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "cron-job", run_jobs, server.address)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[0].netns, "OutRsts")
        return Sight(sent >= 2 * POOL, f"{len(made)} answered; {sent} resets sent by the client's namespace")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
