"""A rolling deploy: every two seconds a replica is replaced, with its pool of connections, and the table grows.

A new replica opens its twenty connections to a Service of two databases, then the oldest one is told to end (SIGTERM),
answers what it has begun, and closes its own. So twelve replicas have as many connections after it as before. What they
closed waits in the table for two minutes, ten more entries a second, most of which nobody uses any more. That comes to
its end by itself at less than a third of the table (it is lowered for this).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from contextlib import suppress

from lab.actor import every
from lab.case import Expected
from lab.connects import read_answer
from lab.load import REQUEST
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase

LIMIT = 5000
SERVICE, PORT = "10.96.0.30", 80
REPLICAS, POOL, EVERY_SECONDS, PAUSE_SECONDS = 12, 20, 2, 4.0
CLOSED = 5 * POOL


def roll_out() -> None:
    running = deque(replica() for _ in range(REPLICAS))
    for _ in every(EVERY_SECONDS, times=1_000_000):
        running.append(replica())
        os.kill(oldest := running.popleft(), signal.SIGTERM)
        os.waitpid(oldest, 0)


def replica() -> int:
    """A process of its own."""
    if pid := os.fork():
        return pid
    asyncio.run(use_pool())
    os._exit(0)


async def use_pool() -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with asyncio.TaskGroup() as group:
        for number in range(POOL):
            group.create_task(use(ending, PAUSE_SECONDS * number / POOL))


async def use(ending: asyncio.Event, begin_after: float) -> None:
    """One connection, closed between two requests."""
    reader, writer = await asyncio.open_connection(SERVICE, PORT)
    await pause(ending, begin_after)
    while not ending.is_set():
        writer.write(REQUEST)
        await read_answer(reader)
        await pause(ending, PAUSE_SECONDS)
    writer.close()
    await writer.wait_closed()


async def pause(ending: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)


class TableInRollingDeploy(TableCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "catalog", "db1", "db2")
        self.pod, *databases = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.servers = [nginx(self.stage, pod, PORT) for pod in databases]
        self.node.service(SERVICE, PORT, *((pod.address, PORT) for pod in databases))
        self.clients = self.stage.play(self.pod, "catalog", roll_out)

    def look(self) -> Sight:
        """For a moment there is a replica more, or one has not all of its connections yet."""
        entries, used = self.table.entries, connections(self.pod.netns).where("ESTAB", peer_port=PORT)
        left = entries.where("TIME_WAIT", source=self.pod.address, destination=SERVICE)
        full = (REPLICAS - 2) * POOL <= len(used) <= (REPLICAS + 2) * POOL
        there = full and len(left) >= CLOSED and self.table.count < LIMIT / 2 and not self.table.statistics["drop"]
        return Sight(there, f"{used} in use, entries of closed ones: {left}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        parts = (self.clients.who(), *(server.who() for server in self.servers))
        return Expected(rule=None, cleared=("conntrack-table",), innocent=parts, bystanders=parts)
