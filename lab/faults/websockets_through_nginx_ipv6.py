"""A live score: three hundred websockets through nginx, over IPv6, with a message now and then; who leaves comes back.

nginx holds six hundred sockets and its number of connections opened grows all the time, as each user stays for ten to
twenty seconds only. All say goodbye, on each side, and no more are open after an hour than after a minute.
"""

from __future__ import annotations

import asyncio
import random

from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import counter
from lab.faults.leak_to_own_sidecar_ipv6 import nginx_before
from lab.look import Sight, connections
from lab.servers import up

PORT, USERS = 8080, 300
UPGRADE = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


def serve() -> None:
    from aiohttp import web

    async def scores(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(f"{message.data}: 1 to 0")
        return websocket

    application = web.Application()
    application.add_routes([web.get("/scores", scores)])
    web.run_app(application, port=PORT, print=None, backlog=1024)


def watch(address: str) -> None:
    import aiohttp

    async def user(session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number / 100)
        while True:
            async with session.ws_connect(f"http://[{address}]/scores") as websocket:
                for _ in range(random.randint(5, 10)):
                    await websocket.send_str("score?")
                    await websocket.receive_str()
                    await asyncio.sleep(2)

    async def all_of_them() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(user(session, number) for number in range(USERS)))

    asyncio.run(all_of_them())


class WebsocketsThroughNginxIpv6(Case):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 20

    def start(self) -> None:
        self.user_pod, self.proxy_pod, server_pod = self.stage.pods("users", "proxy", "server")
        self.server = self.stage.play(server_pod, "scores", serve)
        up(self.stage, server_pod, self.server, PORT)
        passing = f"proxy_pass http://{server_pod.address}:{PORT}; {UPGRADE}"
        self.proxy = nginx_before(self.stage, self.proxy_pod, 80, passing)
        self.users = self.stage.play(self.user_pod, "users", watch, self.proxy_pod.address6)

    def look(self) -> Sight:
        seen, opened = connections(self.proxy_pod.netns), counter(self.user_pod.netns, "ActiveOpens")
        held, onwards = seen.where("ESTAB", local_port=80), seen.where("ESTAB", peer_port=PORT)
        few = len(seen.where("CLOSE-WAIT")) < 10 and not seen.unread
        there = USERS - 20 <= len(held) <= USERS and len(onwards) <= USERS + 5 and opened >= 2 * USERS and few
        return Sight(there, f"nginx: {held} in, {onwards} onwards; {opened} opened in all")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.proxy.who(), self.server.who(), self.users.who()))
