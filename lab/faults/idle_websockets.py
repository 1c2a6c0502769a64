"""Websockets and long polls, four hundred of each: open for hours, silent, and not one more from minute to minute."""

from __future__ import annotations

import asyncio

from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import up

EACH = 400


def serve() -> None:
    from aiohttp import web

    async def chat(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.receive()
        return websocket

    async def poll(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    application = web.Application()
    application.add_routes([web.get("/chat", chat), web.get("/poll", poll)])
    web.run_app(application, port=8080, print=None, backlog=1024)


def wait_for_news(address: str) -> None:
    import aiohttp

    async def listen() -> None:
        everlasting = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=everlasting) as session:
            chats = [await session.ws_connect(f"http://{address}:8080/chat") for _ in range(EACH)]
            polls = [session.get(f"http://{address}:8080/poll") for _ in range(EACH)]
            await asyncio.gather(*(chat.receive() for chat in chats), *polls)

    asyncio.run(listen())


class IdleWebsockets(Case):
    kind = "look-alike"
    window_seconds = 60

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("clients", "server")
        self.server = self.stage.play(self.server_pod, "chat-server", serve)
        up(self.stage, self.server_pod, self.server, 8080)
        self.clients = self.stage.play(self.client_pod, "chat-clients", wait_for_news, self.server_pod.address)

    def look(self) -> Sight:
        held = connections(self.server_pod.netns).where("ESTAB", local_port=8080)
        return Sight(len(held) == 2 * EACH, f"{held} established, {len(held.unread)} with unread data")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.clients.who()))
