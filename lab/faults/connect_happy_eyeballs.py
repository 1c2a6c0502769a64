"""A client that tries IPv6 first, and IPv4 a quarter of a second later (RFC 8305); no IPv6 packet comes through.

Each request leaves one attempt that was given up before its SYN was sent again, and is answered.
"""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import count
from typing import Any

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, calls, filter_forwarded, filtered, log, read_answer
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx


class TwoAddresses(asyncio.SelectorEventLoop):
    """Every name has these two."""

    def __init__(self, address6: str, address: str) -> None:
        super().__init__()
        self.known = [(socket.AF_INET6, address6), (socket.AF_INET, address)]

    async def getaddrinfo(self, *asked: Any, **_: Any) -> Any:
        _, port = asked
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (at, port)) for family, at in self.known]


async def browse() -> None:
    for number in count():
        begin = time.monotonic()
        reader, writer = await asyncio.open_connection("shop.lab", 80, happy_eyeballs_delay=0.25)
        writer.write(REQUEST)
        await read_answer(reader)
        log(ANSWERED, time.monotonic() - begin)
        writer.close()
        await asyncio.sleep(0.05 * (number % 3))


def browse_with_many(address6: str, address: str) -> None:
    async def go_on() -> None:
        await asyncio.gather(*(browse() for _ in range(5)))

    TwoAddresses(address6, address).run_until_complete(go_on())


class ConnectHappyEyeballs(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        filter_forwarded(self.node, f"ip6 daddr {server.address6} counter drop")
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(client, "browser", browse_with_many, server.address6, server.address)

    def look(self) -> Sight:
        made, dropped = calls(self.client), filtered(self.node)
        return Sight(len(made) >= 20 and dropped >= len(made), f"{made}; {dropped} packets of IPv6 dropped")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
