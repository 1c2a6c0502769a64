"""A client that gives up after half a second, and a server that needs longer for one request in ten: it was connected.

The answer that comes after the client has closed is met by a reset. Connecting never fails.
"""

from __future__ import annotations

import asyncio
from itertools import count

from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, ANY, GAVE_UP, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080
LIMIT_SECONDS, USUAL_SECONDS, LONG_SECONDS = 0.5, 0.1, 0.7


def answer_slowly() -> None:
    numbers = count(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(USUAL_SECONDS if next(numbers) % 10 else LONG_SECONDS)
        writer.write(ANSWER)
        writer.close()

    async def go_on() -> None:
        server = await asyncio.start_server(answer, ANY, PORT)
        await server.serve_forever()

    asyncio.run(go_on())


class ConnectShortLimit(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "reports", answer_slowly)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(server.address, PORT)], 20, LIMIT_SECONDS)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[0].netns, "OutRsts")
        there = len(made) >= 20 and made.share(ANSWERED) > 0.8 and sent > 0 and len(made.where(GAVE_UP)) >= 2
        return Sight(there, f"{made}; {sent} resets sent by the client")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
