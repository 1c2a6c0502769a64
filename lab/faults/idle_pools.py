"""Idle pools of requests, httpx and aiohttp: sixty kept-alive connections each, after a rush that is over."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from lab.actor import rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import uvicorn

POOL = 60


def with_requests(url: str) -> None:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=POOL))
    with ThreadPoolExecutor(POOL) as rush:
        list(rush.map(session.get, [url] * POOL))
    rest()


def with_httpx(url: str) -> None:
    import httpx

    client = httpx.Client(limits=httpx.Limits(max_keepalive_connections=POOL, keepalive_expiry=3600), timeout=30)
    with ThreadPoolExecutor(POOL) as rush:
        list(rush.map(client.get, [url] * POOL))
    rest()


def with_aiohttp(url: str) -> None:
    import aiohttp

    async def fill() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=3600)) as session:
            responses = await asyncio.gather(*(session.get(url) for _ in range(POOL)))
            await asyncio.gather(*(response.read() for response in responses))
            await asyncio.sleep(3600)

    asyncio.run(fill())


class IdlePools(Case):
    kind = "look-alike"
    age_seconds = 40

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("clients", "server")
        self.server = uvicorn(self.stage, self.server_pod, 8000, keep_alive_seconds=3600, answer_after_seconds=2)
        url = f"http://{self.server_pod.address}:8000/"
        self.pools = [
            self.stage.play(self.client_pod, f"pool-{name}", fill, url)
            for name, fill in (("requests", with_requests), ("httpx", with_httpx), ("aiohttp", with_aiohttp))
        ]

    def look(self) -> Sight:
        idle = connections(self.client_pod.netns).where("ESTAB", peer_port=8000)
        return Sight(len(idle) == 3 * POOL, f"{idle} established, {len(idle.unread)} with unread data")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), *(pool.who() for pool in self.pools)))
