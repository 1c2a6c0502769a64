"""A shop page fails on two services at once: one refuses every connect, and one says 500, and neither is the network.

The stock service listens where its server does if it is not told otherwise, on 127.0.0.1: its readiness check, which
asks there, is answered, and everybody else is refused. The page renderer makes an event loop for each page and closes
none; at three descriptors each its limit of 128 is soon reached, and it lives on and apologises. Its process name has
a quote, brackets and what reads like another's process id: who takes a name for data blames init.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lab.case import LIMIT_RULES, Expected, Named
from lab.connects import ANSWER, ANSWERED, ANY, ConnectCase, call, calls, named
from lab.look import Sight, connections, descriptors
from lab.node import Node
from lab.servers import SMALL, WSGI, up

NAME, LOOPBACK, LACK = '",pid=1) S 1 (', "127.0.0.1", "Too many open files"
PORT, PAGE_PORT, FILES = 8000, 8080, 128
SORRY = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

loops: list[asyncio.AbstractEventLoop] = []


async def page() -> bytes:
    return ANSWER


def render() -> bytes:
    loop = asyncio.new_event_loop()  # in a thread there is none; asyncio.run would close it
    loops.append(loop)
    return loop.run_until_complete(page())


def serve_pages() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            try:
                writer.write(await asyncio.to_thread(render))
                await reader.read()
            except OSError as error:
                print(error, flush=True)
                writer.write(SORRY)
        writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(answer, ANY, PAGE_PORT, backlog=20) as server:
            await server.serve_forever()

    asyncio.run(go_on())


class RefusedOnLoopbackAndOutOfEventLoops(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES
    age_seconds = 4

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "stock", "pages")
        shop, self.stock_pod, pages = self.node.pods
        (self.stage.directory / "application.py").write_text(WSGI.format(seconds=0.0, size=SMALL))
        where = ("--bind", f"{LOOPBACK}:{PORT}", "--chdir", str(self.stage.directory))
        self.stock = self.stage.run(self.stock_pod, "gunicorn", "gunicorn", *where, "application:answer")
        up(self.stage, self.stock_pod, self.stock, PORT)
        self.readiness = self.stage.play(self.stock_pod, "readiness", call, [(LOOPBACK, PORT)], 2, 5)
        self.pages = self.stage.play(pages, NAME, serve_pages, under=("prlimit", f"--nofile={FILES}"))
        up(self.stage, pages, self.pages, PAGE_PORT)
        targets = [(self.stock_pod.address, PORT), (pages.address, PAGE_PORT)]
        self.client = self.stage.play(shop, "checkout", call, targets, 10, 3)

    def look(self) -> Sight:
        made, checks = calls(self.client), calls(self.readiness)
        held, lacking = descriptors(self.pages.who().pids, ""), self.pages.log.read_text(errors="replace").count(LACK)
        listening = connections(self.stock_pod.netns).where("LISTEN", local_port=PORT)
        out = held > FILES - 8 and lacking >= 10 and ANSWERED not in {one.outcome for one in made[-20:]}
        well = len(listening) == 1 and len(checks) >= 5 and checks.share(ANSWERED) == 1
        seen = f"{held} descriptors of {FILES}, {lacking} times too many; {made}; readiness: {checks}"
        return Sight(out and well and len(made.where("ECONNREFUSED")) >= 20, seen)

    def expected(self) -> Expected:
        """Both: the address that refuses, and the program that has no descriptor left, by its name and its own id."""
        return Expected(
            rule="connect-refused",
            also=("descriptor-limit", "accept-queue", "connect-timeout", "connect-slow", "socket-leak"),
            severities=("info", "warning", "critical"),  # who has just come may be starting
            tolerated=(self.pages.who(), self.stock.who()),
            innocent=(self.client.who(), self.readiness.who()),
            bystanders=(self.readiness.who(),),
            others=(Named(self.pages.who(), ("culprit", "holder")), named(self.client)),
            endpoint=(self.stock_pod.address, PORT),
        )
