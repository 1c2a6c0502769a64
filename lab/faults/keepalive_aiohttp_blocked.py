"""aiohttp, which is told when the server closes, and an event loop that is kept from hearing it: incident 5 again.

Again and again the program computes a report for five and a half seconds without giving way; Uvicorn closes meanwhile.
The orders it posts at once after that go out on dead connections, and a POST is not asked again by the library. They
have no body: before one is sent, the library comes to read that the connection is closed, and fails without a packet.
"""

from __future__ import annotations

import asyncio
import time

from lab.keepalive import PairCase
from lab.pools import say
from lab.servers import uvicorn
from lab.stage import Player

ORDERS = 10
REPORT_SECONDS = 5.5


def post_orders(url: str) -> None:
    import aiohttp

    async def order(session: aiohttp.ClientSession) -> None:
        async with session.post(url) as answer:
            await answer.read()

    async def order_again(session: aiohttp.ClientSession) -> None:
        try:
            await order(session)
            say("answered", REPORT_SECONDS)
        except aiohttp.ClientError as error:
            say("failed", REPORT_SECONDS, f"{type(error).__name__}: {error}")
            await order(session)

    async def go_on() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            await asyncio.gather(*(order(session) for _ in range(ORDERS)))
            while True:
                await asyncio.sleep(0.05)
                time.sleep(REPORT_SECONDS)  # the report: nothing else of the program goes on
                await asyncio.gather(*(order_again(session) for _ in range(ORDERS)))

    asyncio.run(go_on())


class KeepaliveAiohttpBlocked(PairCase):
    kind = "fault"
    rules_unread = True
    server_waits = (5.0, 5.0)
    window_seconds = 15

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=5)

    def call(self) -> Player:
        return self.stage.play(self.client_pod, "orders", post_orders, self.url)
