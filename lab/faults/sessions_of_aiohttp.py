"""A session of aiohttp for each call, none ever closed, which the manual warns of; and yet no socket stays.

Each session has a pool of its own with one connection, and aiohttp closes what was idle for 15 s. With ten calls a
second there are always about a hundred and fifty idle connections, each used once, in a program that never closes one
by itself. The number has come to its end.
"""

from __future__ import annotations

import asyncio

from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import nginx

PER_SECOND, KEPT_SECONDS = 10, 15


def feed(url: str) -> None:
    import aiohttp

    sessions = []

    async def ask() -> None:
        sessions.append(session := aiohttp.ClientSession(raise_for_status=True))
        async with session.get(url) as answer:
            await answer.read()

    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(ask())
                await asyncio.sleep(1 / PER_SECOND)

    asyncio.run(go_on())


class SessionsOfAiohttp(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, server = self.stage.pods("client", "server")
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.client_pod, "price-feed", feed, f"http://{server.address}/small")

    def look(self) -> Sight:
        """So many are idle as there were calls in the time for which one is kept, and others are gone already."""
        seen = connections(self.client_pod.netns)
        held, gone = seen.where("ESTAB", peer_port=80), seen.where("TIME-WAIT", peer_port=80)
        there = 0.8 < len(held) / (PER_SECOND * KEPT_SECONDS) < 1.2 and len(gone) >= 50
        return Sight(there and not held.unread, f"{held} established, {gone} in TIME-WAIT")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
