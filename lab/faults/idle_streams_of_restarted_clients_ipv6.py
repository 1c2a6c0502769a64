"""Four thousand websockets over IPv6, all of them silent, of four clients that are restarted one after the other.

Every eight seconds one client of a thousand streams is ended and another comes in its place, as in a rollout. So the
server has a thousand less and a thousand more again, all the time; each stream is closed on both sides, no data is
unread, and the number is the same after an hour.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected
from lab.look import Sight, connections
from lab.servers import up

PORT = 8080
CLIENTS, EACH = 4, 1000
RESTART_SECONDS = 8
AT_ONCE = 50
"""Handshakes that a client waits for."""


def serve() -> None:
    from aiohttp import web

    async def news(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.receive()
        return websocket

    application = web.Application()
    application.add_routes([web.get("/news", news)])
    web.run_app(application, host="::", port=PORT, print=None, backlog=1024)


def subscribe_and_restart(address: str) -> None:
    running = deque(subscriber(address) for _ in range(CLIENTS))
    for turn in every(RESTART_SECONDS, times=1_000_000):
        if turn:
            os.kill(running[0], signal.SIGTERM)
            os.waitpid(running.popleft(), 0)
            running.append(subscriber(address))


def subscriber(address: str) -> int:
    """A process of its own, with a connection for each of its streams."""
    if pid := os.fork():
        return pid
    asyncio.run(subscribe(address))
    os._exit(1)


async def subscribe(address: str) -> None:
    import aiohttp

    room = asyncio.Semaphore(AT_ONCE)
    everlasting = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=everlasting) as session:

        async def begin() -> aiohttp.ClientWebSocketResponse:
            async with room:
                return await session.ws_connect(f"http://[{address}]:{PORT}/news")

        streams = await asyncio.gather(*(begin() for _ in range(EACH)))
        print("subscribed", flush=True)
        await asyncio.gather(*(stream.receive() for stream in streams))


class IdleStreamsOfRestartedClientsIpv6(Case):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 30
    ready_within_seconds = 90

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("clients", "server")
        self.server = self.stage.play(self.server_pod, "news-server", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        self.clients = self.stage.play(self.client_pod, "subscribers", subscribe_and_restart, self.server_pod.address6)

    def look(self) -> Sight:
        """All are there, and some clients have been restarted."""
        held = connections(self.server_pod.netns).where("ESTAB", local_port=PORT)
        subscribed = self.clients.log.read_text().count("subscribed")
        there = len(held) == CLIENTS * EACH and not held.unread and subscribed >= CLIENTS + 2
        return Sight(there, f"{held} established, {len(held.unread)} with unread data; {subscribed} clients came")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.clients.who()))
