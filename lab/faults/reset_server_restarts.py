"""A server that is restarted once, in the middle of the window: all connections in use are reset at the same moment.

It is stuck for half a second before it dies, so that each has a request that it has not read. Its successor answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time

from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, NEVER, ConnectCase, calls, counter, log, name_of
from lab.load import ANSWER_BYTES, REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT, CONNECTIONS = 8080, 60
LIFE_SECONDS, STUCK_SECONDS = 5.5, 0.5


def serve_and_restart() -> None:
    """The listener is kept, so nobody is refused."""
    listener = socket.create_server(("", PORT), backlog=100)
    for life in (LIFE_SECONDS, NEVER):
        if not (child := os.fork()):
            asyncio.run(answer_until(listener, life))
        os.waitpid(child, 0)


async def answer_until(listener: socket.socket, seconds: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)

    await asyncio.start_server(answer, sock=listener)
    await asyncio.sleep(seconds)
    time.sleep(STUCK_SECONDS)  # nobody reads meanwhile
    os._exit(1)


def use_pool(address: str) -> None:
    """Ten requests a second on each connection; one that is lost is made anew."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(address, PORT)
        while True:
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(ANSWER_BYTES)
            log(ANSWERED, 0)
            await asyncio.sleep(0.1)

    async def keep_asking() -> None:
        while True:
            try:
                await ask()
            except OSError as error:
                log(name_of(error), 0)

    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(keep_asking())

    asyncio.run(go_on())


class ResetServerRestarts(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", serve_and_restart)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", use_pool, server.address)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[1].netns, "OutRsts")
        return Sight(made.share(ANSWERED) > 0.9, f"{made}; {sent} resets sent by the server's namespace")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
