"""A server that crashes a second after each start and is started again two seconds later: most connects are refused."""

from __future__ import annotations

import os
import time

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, named, serve
from lab.look import Sight
from lab.node import Node

PORT = 8080


def crash_over_and_over() -> None:
    while True:
        if not (child := os.fork()):
            serve(PORT, end_after_seconds=1)
        os.waitpid(child, 0)
        time.sleep(2)


class ConnectRefusedCrashLoop(ConnectCase):
    kind = "fault"
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", crash_over_and_over)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        return Sight(len(made) >= 80 and made.share("ECONNREFUSED") > 0.5 and made.share(ANSWERED) > 0, str(made))

    def expected(self) -> Expected:
        return Expected(
            rule="connect-refused",
            also=("resets",),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client),),
            endpoint=(self.node.pods[1].address, PORT),
        )
