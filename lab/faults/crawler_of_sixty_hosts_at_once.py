"""A crawler opens a connection to each of sixty hosts at one moment, reads them all, closes them all, and begins again.

Some hosts answer at once and would keep the connection, others take a second and a half and close it first. So its
number of sockets jumps from none to sixty and falls back, every few seconds; a look at the wrong moments sees a leak
that grows as fast as can be, towards a limit of 256. Nothing is ever left but TIME_WAIT, and each page was read to its
end. A shop beside it asks one of the same hosts.
"""

from __future__ import annotations

import asyncio
import time

from lab.case import LIMIT_RULES, Expected
from lab.connects import ANSWER, ANSWERED, ANY, CLOSED, ConnectCase, call, calls, log
from lab.look import Sight, connections, descriptors
from lab.node import Node
from lab.servers import up

PORT, FILES = 80, 256
HOSTS = [f"203.0.113.{number}" for number in range(1, 61)]
SLOW_SECONDS, PAUSE_SECONDS = 1.5, 1.0


def all_hosts() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = int(writer.get_extra_info("sockname")[0].rpartition(".")[2])
        try:
            await reader.readuntil(b"\r\n\r\n")
            if host % 3 == 0:
                await asyncio.sleep(SLOW_SECONDS)  # it is of the slow ones
            writer.write(ANSWER)
            if host % 3:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller went away
        finally:
            writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(answer, ANY, PORT, backlog=1024) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def crawl(hosts: list[str]) -> None:
    import aiohttp

    async def fetch(session: aiohttp.ClientSession, host: str) -> None:
        begin = time.monotonic()
        try:
            async with session.get(f"http://{host}/") as answer:
                await answer.read()
            log(ANSWERED, time.monotonic() - begin)
        except (aiohttp.ClientError, OSError):
            log(CLOSED, time.monotonic() - begin)

    async def go_on() -> None:
        while True:
            async with aiohttp.ClientSession() as session:
                await asyncio.gather(*(fetch(session, host) for host in hosts))
            await asyncio.sleep(PAUSE_SECONDS)

    asyncio.run(go_on())


class CrawlerOfSixtyHostsAtOnce(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    rules = LIMIT_RULES
    window_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "crawler", "shop")
        self.crawler_pod, shop = self.node.pods
        self.hosts = self.stage.play(self.node.outside, "hosts", all_hosts)
        up(self.stage, self.node.outside, self.hosts, PORT)
        limit = ("prlimit", f"--nofile={FILES}")
        self.crawler = self.stage.play(self.crawler_pod, "crawler", crawl, HOSTS, under=limit)
        self.shop = self.stage.play(shop, "shop", call, [(HOSTS[0], PORT)], 5, 5)

    def look(self) -> Sight:
        pages, others = calls(self.crawler), calls(self.shop)
        held, closed = descriptors(self.crawler.who().pids, ""), connections(self.crawler_pod.netns).where("TIME-WAIT")
        well = pages.share(ANSWERED) == others.share(ANSWERED) == 1
        there = well and len(pages) >= 4 * len(HOSTS) and len(others) >= 20 and len(closed) >= len(HOSTS)
        seen = f"{held} descriptors of {FILES}, {closed} in TIME-WAIT; crawler: {pages}; shop: {others}"
        return Sight(there and held <= len(HOSTS) + 30, seen)

    def expected(self) -> Expected:
        parts = (self.crawler.who(), self.shop.who(), self.hosts.who())
        return Expected(rule=None, cleared=("socket-leak", "descriptor-limit"), innocent=parts, bystanders=parts)
