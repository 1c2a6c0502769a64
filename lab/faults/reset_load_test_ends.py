"""A load test that ends: a hundred busy connections at once, each with an unread answer, so each by a reset.

It happens once in the window. Who asks beside it is answered before and after.
"""

from __future__ import annotations

import asyncio
import os
import socket

from lab.actor import rest
from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.load import REQUEST
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import nginx

CONNECTIONS, LOAD_SECONDS = 100, 4.0


async def ask_over_and_over(address: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (address, 80))
        while True:
            await loop.sock_sendall(connection, REQUEST)
            await asyncio.sleep(0.2)
            await loop.sock_recv(connection, 4096)


def load_for_a_while(address: str) -> None:
    """In a process of its own, which ends without a word."""

    async def load() -> None:
        tasks = [asyncio.create_task(ask_over_and_over(address)) for _ in range(CONNECTIONS)]
        await asyncio.wait(tasks, timeout=LOAD_SECONDS)
        os._exit(0)

    if not os.fork():
        asyncio.run(load())
    rest()


class ResetLoadTestEnds(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "load", "client", "server")
        load, client, server = self.node.pods
        self.server = nginx(self.stage, server)
        self.load = self.stage.play(load, "load-test", load_for_a_while, server.address)
        self.client = self.stage.play(client, "browser", call, [(server.address, 80)], 10, 2)

    def look(self) -> Sight:
        made = calls(self.client)
        open_now = connections(self.node.pods[0].netns).where("ESTAB", peer_port=80)
        sent = counter(self.node.pods[0].netns, "OutRsts")
        there = len(open_now) == CONNECTIONS and made.share(ANSWERED) == 1
        return Sight(there, f"{len(open_now)} connections of load-test, {sent} resets sent; browser: {made}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.load.who(), self.client.who(), self.server.who()))
