"""A rolling restart: of four endpoints of a Service one after the other is away for a second, and refuses meanwhile.

The node goes on sending it a quarter of all connects, as it hears of each change a moment late. Who is refused tries
again a tenth of a second later, as its library does by itself, and is answered by another one: not one request fails.
"""

from __future__ import annotations

import asyncio
import os
import time

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, calls, counter, log, read_answer, serve
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import up

SERVICE, PORT = "10.96.0.20", 8080
LIVES_SECONDS = (5.0, 9.0, 13.0, 17.0)
AWAY_SECONDS, AGAIN_SECONDS = 1.0, 0.1
CALLERS, PAUSE_SECONDS = 10, 0.5


def serve_and_restart(life_seconds: float) -> None:
    for life in (life_seconds, None):
        if not (child := os.fork()):
            serve(PORT, end_after_seconds=life)
        os.waitpid(child, 0)
        time.sleep(AWAY_SECONDS)  # a program needs that long to start


def ask_until_answered(address: str, port: int) -> None:
    """Log after how long each request was answered, all attempts together."""

    async def go_on() -> None:
        while True:
            begin = time.monotonic()
            while not await answered(address, port):
                await asyncio.sleep(AGAIN_SECONDS)
            log(ANSWERED, time.monotonic() - begin)
            await asyncio.sleep(PAUSE_SECONDS)

    async def all_of_them() -> None:
        await asyncio.gather(*(go_on() for _ in range(CALLERS)))

    asyncio.run(all_of_them())


async def answered(address: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    try:
        writer.write(REQUEST)
        await read_answer(reader)
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
    return True


class ConnectRetriedDuringRollingRestart(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "one", "two", "three", "four")
        self.pod, *pods = self.node.pods
        self.node.service(SERVICE, 80, *((pod.address, PORT) for pod in pods))
        self.servers = []
        for pod, life in zip(pods, LIVES_SECONDS, strict=True):
            self.servers.append(server := self.stage.play(pod, "orders", serve_and_restart, life))
            up(self.stage, pod, server, PORT)
        self.client = self.stage.play(self.pod, "checkout", ask_until_answered, SERVICE, 80)

    def look(self) -> Sight:
        made, refused = calls(self.client), counter(self.pod.netns, "AttemptFails")
        late = made.where(at_least_seconds=2.0)
        there = len(made) >= 30 and refused >= 1 and len(late) <= 0.05 * len(made)
        return Sight(there, f"{made}; refused {refused} times")

    def expected(self) -> Expected:
        parts = (self.client.who(), *(server.who() for server in self.servers))
        return Expected(rule=None, innocent=parts, bystanders=parts)
