"""An nginx told to ignore that its users go (proxy_ignore_client_abort): two a second leave, and none is let go.

The directive was set so that an order is placed even where its buyer closes the page, and holds for a stream of alerts
too (server-sent events). There has been no alert for hours, so nginx never writes, and does not learn that nobody
listens: it keeps the user's connection, which is in CLOSE_WAIT, and the one onwards. The server has more subscribers
each second, all of them connected and silent, as a server of alerts should.
"""

from __future__ import annotations

import asyncio

from lab.case import Case, Expected
from lab.connects import ANSWERED, NEVER, calls, log
from lab.faults.leak_to_own_sidecar_ipv6 import nginx_before
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT, FRONT = 8080, 80
BETWEEN_SECONDS, STAYS_SECONDS = 0.5, 2
STREAM = "proxy_http_version 1.1; proxy_buffering off; proxy_ignore_client_abort on;"
ASK = b"GET /alerts HTTP/1.1\r\nHost: lab\r\nAccept: text/event-stream\r\n\r\n"
WELCOME = b": welcome\n\n"


def serve() -> None:
    from aiohttp import web

    async def alerts(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(WELCOME)
        await asyncio.sleep(NEVER)  # until there is something to tell
        return stream

    application = web.Application()
    application.add_routes([web.get("/alerts", alerts)])
    web.run_app(application, port=PORT, print=None, backlog=1024)


def come_and_go(address: str) -> None:
    async def watch() -> None:
        reader, writer = await asyncio.open_connection(address, FRONT)
        writer.write(ASK)
        await reader.readuntil(WELCOME)
        log(ANSWERED, 0)
        await asyncio.sleep(STAYS_SECONDS)
        writer.close()

    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(watch())
                await asyncio.sleep(BETWEEN_SECONDS)

    asyncio.run(go_on())


class ClientAbortIgnoredByNginx(Case):
    kind = "fault"
    rules_unread = True
    age_seconds = 20
    window_seconds = 30

    def start(self) -> None:
        self.user_pod, self.proxy_pod, server_pod = self.stage.pods("users", "proxy", "server")
        self.server = self.stage.play(server_pod, "alerts", serve)
        up(self.stage, server_pod, self.server, PORT)
        onwards = f"proxy_pass http://{server_pod.address}:{PORT}; {STREAM}"
        self.proxy = nginx_before(self.stage, self.proxy_pod, FRONT, onwards)
        self.users = self.stage.play(self.user_pod, "users", come_and_go, self.proxy_pod.address)

    def look(self) -> Sight:
        """Each user was served and has closed, but for those of the last seconds."""
        seen = connections(self.proxy_pod.netns)
        left, onwards = seen.where("CLOSE-WAIT", local_port=FRONT), seen.where("ESTAB", peer_port=PORT)
        own, came = descriptors(self.users.who().pids, "socket:"), len(calls(self.users))
        there = min(len(left), len(onwards)) >= 30 and own < len(left) / 2 and came >= len(left)
        return Sight(there, f"nginx: {left} in CLOSE-WAIT, {onwards} onwards; {came} came, {own} sockets of theirs")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # of a minute
            culprits=(self.proxy.who(),),
            innocent=(self.server.who(), self.users.who()),
        )
