"""Thirty workers of a message queue, each with tens of kilobytes unread at all times: the messages to work on next.

The broker sends eight ahead of what was acknowledged (prefetch, as AMQP calls it), and a worker takes one, works on it
for four seconds, says so, and takes the next. What is still to come waits in its socket, in the kernel, where a client
that reads only what it needs leaves it. Nothing is unsent, no window is closed, each message has its turn within half a
minute, and in an hour it will be as much.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from threading import Thread

from lab.actor import rest
from lab.case import Case, Expected
from lab.connects import ANY
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections
from lab.servers import up

PORT, WORKERS, AHEAD, MESSAGE, WORK_SECONDS = 5672, 30, 8, bytes(6000), 4.0


def deal_out() -> None:
    async def feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(AHEAD * MESSAGE)
            while done := await reader.read(100):
                writer.write(len(done) * MESSAGE)
        writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(feed, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def work_all(address: str) -> None:
    for number in range(WORKERS):
        Thread(target=work, args=(address, WORK_SECONDS * number / WORKERS)).start()
    rest()


def work(address: str, begin_after: float) -> None:
    time.sleep(begin_after)
    with socket.create_connection((address, PORT)) as queue:
        while len(queue.recv(len(MESSAGE), socket.MSG_WAITALL)) == len(MESSAGE):
            time.sleep(WORK_SECONDS)
            queue.sendall(b"+")
            print("done", flush=True)


class PrefetchOfQueueWorkers(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 15

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("workers", "broker")
        self.server = self.stage.play(self.server_pod, "broker", deal_out)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "workers", work_all, self.server_pod.address)

    def look(self) -> Sight:
        unread = connections(self.client_pod.netns).where("ESTAB", peer_port=PORT).unread
        fed = connections(self.server_pod.netns).where("ESTAB", local_port=PORT)
        done = self.client.log.read_text().count("done")
        there = len(unread) == len(fed) == WORKERS and len(fed.unsent) <= 3 and done >= 2 * WORKERS
        return Sight(
            there, f"workers: {unread} unread; broker: {len(fed.unsent)} of {fed} with unsent data; {done} done"
        )

    def expected(self) -> Expected:
        also = ("tcp-memory",) if short_of_tcp_memory() else ()
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, also=also, innocent=parts, bystanders=parts)
