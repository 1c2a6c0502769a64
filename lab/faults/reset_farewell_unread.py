"""A server that says farewell before it closes, and a client that does not listen: each connection ends by a reset.

The client has its answer and is in CLOSE_WAIT when it closes with those bytes unread. TLS ends so too (close_notify).
"""

from __future__ import annotations

import asyncio
import socket

from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, ANY, ConnectCase, calls, counter, log
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080
FAREWELL_AFTER_SECONDS, LEAVE_AFTER_SECONDS = 0.02, 0.1


def say_farewell() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await asyncio.sleep(FAREWELL_AFTER_SECONDS)
        writer.write(b"bye")
        writer.close()

    async def go_on() -> None:
        server = await asyncio.start_server(answer, ANY, PORT)
        await server.serve_forever()

    asyncio.run(go_on())


async def ask_and_leave(address: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (address, PORT))
        await loop.sock_sendall(connection, REQUEST)
        left = len(ANSWER)
        while left:
            left -= len(await loop.sock_recv(connection, left))
        await asyncio.sleep(LEAVE_AFTER_SECONDS)
    log(ANSWERED, 0)


def ask_at_pace(address: str) -> None:
    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(ask_and_leave(address))
                await asyncio.sleep(0.05)

    asyncio.run(go_on())


class ResetFarewellUnread(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", say_farewell)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "mailer", ask_at_pace, server.address)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[0].netns, "OutRsts")
        return Sight(len(made) >= 20 and sent >= len(made), f"{len(made)} answered; {sent} resets sent by the client")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
