"""A message broker had no descriptor left for some seconds, and has plenty now; a hundred idle subscribers stay.

A loader opened far more connections than it was meant to, and the broker, which may have 256 descriptors, could accept
nobody: publishers waited and gave up. Its log is full of "Too many open files", and a hundred connections of its pod
say nothing for hours, all of one program, as subscribers do. But the loader has closed what it had, every message since
was taken at once, and half of the descriptors are free. There is nothing to repair.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

from lab.actor import rest
from lab.case import LIMIT_RULES, Case, Expected
from lab.connects import ANSWER, ANSWERED, ANY, GAVE_UP, call, calls
from lab.load import keep_idle
from lab.look import Sight, connections, descriptors, wait_until
from lab.servers import up

PORT, FILES, SUBSCRIBERS, RUSH, RUSH_SECONDS = 6000, 256, 100, 180, 6
LACK, ENOUGH = "Too many open files", 30


def broker() -> None:
    """Says yes to each that subscribes or publishes. Without a descriptor asyncio fails to accept as many times in a
    row as its backlog is long, so that one is short."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await reader.read()
        writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(take, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def rush(address: str) -> None:
    """A connection for each of its threads, of which somebody wrote too many, until he has noticed."""
    kept = [socket.create_connection((address, PORT)) for _ in range(RUSH)]
    time.sleep(RUSH_SECONDS)
    for connection in kept:
        connection.close()
    print("gone", flush=True)
    rest()


class BrokerWasOutOfDescriptors(Case):
    kind = "look-alike"
    rules_unread = True
    rules = LIMIT_RULES
    age_seconds = 8

    def start(self) -> None:
        phones, orders, loading, self.pod = self.stage.pods("phones", "orders", "loader", "broker")
        self.lacking = 0
        self.broker = self.stage.play(self.pod, "broker", broker, under=("prlimit", f"--nofile={FILES}"))
        up(self.stage, self.pod, self.broker, PORT)
        self.subscribers = self.stage.play(phones, "subscribers", keep_idle, self.pod.address, PORT, SUBSCRIBERS)
        self.publisher = self.stage.play(orders, "orders", call, [(self.pod.address, PORT)], 5, 2)
        wait_until(lambda: self.open >= SUBSCRIBERS and bool(calls(self.publisher)), 20, self.stage.logs)
        self.loader = self.stage.play(loading, "loader", rush, self.pod.address)
        wait_until(lambda: "gone" in self.loader.log.read_text(), 30, self.stage.logs)

    @property
    def open(self) -> int:
        return len(connections(self.pod.netns).where("ESTAB", local_port=PORT))

    def look(self) -> Sight:
        """None was missing since the look before, and the last messages were taken."""
        before, self.lacking = self.lacking, self.broker.log.read_text(errors="replace").count(LACK)
        made, held, still_open = calls(self.publisher), descriptors(self.broker.who().pids, ""), self.open
        last, gave_up = {one.outcome for one in made[-ENOUGH:]}, made.where(GAVE_UP)
        over = before == self.lacking > 0 and last == {ANSWERED} and len(gave_up) >= 5
        there = over and SUBSCRIBERS <= still_open <= SUBSCRIBERS + 10 and held < 0.6 * FILES
        seen = f"{held} descriptors of {FILES}, {self.lacking} times too many so far, {before} before"
        return Sight(there, f"{seen}; {still_open} established; of late {last}; {made}")

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.broker, self.subscribers, self.publisher, self.loader))
        return Expected(rule=None, cleared=("descriptor-limit", "accept-queue"), innocent=parts, bystanders=parts)
