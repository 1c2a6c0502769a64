"""A busy and healthy server: three thousand connections, some hundred requests a second, every answer read."""

from __future__ import annotations

import asyncio
import random

from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import nginx

CONNECTIONS = 3000


async def browse(address: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(address, port)
    while True:
        writer.write(b"GET /small HTTP/1.1\r\nHost: lab\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(200)
        await asyncio.sleep(random.uniform(2, 15))


def crowd(address: str, port: int, size: int) -> None:
    async def arrive() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(size):
                group.create_task(browse(address, port))
                if number % 20 == 0:
                    await asyncio.sleep(0.01)

    asyncio.run(arrive())


class BusyServer(Case):
    kind = "look-alike"
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("clients", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.clients = self.stage.play(self.client_pod, "browsers", crowd, self.server_pod.address, 80, CONNECTIONS)

    def look(self) -> Sight:
        served = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        return Sight(len(served) == CONNECTIONS, f"{served} established, {len(served.unread)} with unread data")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.clients.who()))
