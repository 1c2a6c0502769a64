"""A chat with two hundred phones, of which three have gone into a tunnel: the server goes on sending to them.

Each gets a message a second. What is sent to the three is repeated after ever longer pauses, and waits unacknowledged
until the kernel gives up after a quarter of an hour; all others have theirs at once. So it is every minute with phones:
the path is not lossy, the server leaks nothing, and three connections of two hundred are no fault of this node.
"""

from __future__ import annotations

import asyncio

from lab.case import Expected
from lab.connects import ANY, filter_forwarded, filtered
from lab.look import Connections, Sight, connections, wait_until
from lab.node import NODE, Node
from lab.servers import up
from lab.transfers import TransferCase, repeated

PORT, NODE_PORT = 8080, 30080
PHONES, GONE = 200, 3
MESSAGE = bytes(200)


def chat() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(MESSAGE)
            await asyncio.sleep(1)

    async def go_on() -> None:
        async with await asyncio.start_server(talk, ANY, PORT, backlog=1024) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def listen(address: str) -> None:
    """Each phone has an address of its own."""

    async def hear(number: int) -> None:
        reader, _ = await asyncio.open_connection(address, NODE_PORT, local_addr=(f"203.0.113.{number}", 0))
        while await reader.read(4096):
            pass

    async def arrive() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(1, PHONES + 1):
                group.create_task(hear(number))
                await asyncio.sleep(0.01)

    asyncio.run(arrive())


class ChatUsersWhoLeft(TransferCase):
    kind = "look-alike"
    rules_unread = True
    age_seconds = 10

    def start(self) -> None:
        self.node = Node(self.stage, "chat")
        (self.pod,) = self.node.pods
        self.node.service(NODE, NODE_PORT, (self.pod.address, PORT))
        self.server = self.stage.play(self.pod, "chat-server", chat)
        up(self.stage, self.pod, self.server, PORT)
        self.phones = self.stage.play(self.node.outside, "phones", listen, NODE)
        wait_until(lambda: len(self.kept) == PHONES and self.acked > PHONES * len(MESSAGE), 20, self.stage.logs)
        filter_forwarded(self.node, f"ip daddr 203.0.113.1-203.0.113.{GONE} counter drop")
        self.last = self.acked

    @property
    def kept(self) -> Connections:
        return connections(self.pod.netns).where("ESTAB", local_port=PORT)

    @property
    def acked(self) -> int:
        return sum(one.acked for one in self.kept)

    def look(self) -> Sight:
        kept = self.kept
        behind = [one for one in kept if one.unsent >= 5 * len(MESSAGE)]
        before, self.last, again = self.last, self.acked, repeated(self.node, 0)
        moved = self.last - before
        there = len(kept) == PHONES and len(behind) == GONE and again >= 3 * GONE and moved > 0
        seen = f"{len(behind)} of {len(kept)} acknowledge nothing, {again} segments repeated"
        return Sight(there, f"{seen}, {filtered(self.node)} packets dropped; {moved} bytes acked since")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.phones.who()))
