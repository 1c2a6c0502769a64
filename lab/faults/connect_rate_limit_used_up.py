"""A firewall lets five new connections a second through to a server, and a batch job that just began takes them all.

The limit was meant against floods, and the shop with its three a second had never met it. Now most connects of both get
no answer, for which the server seems to be dead: it is idle, nothing of it is full, and whoever was let through is
answered at once. The batch job has no more success than the shop, and is the reason; the limit is what drops.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import (
    ANSWERED,
    GAVE_UP,
    STEP_SECONDS,
    Calls,
    ConnectCase,
    call,
    calls,
    filter_forwarded,
    filtered,
    named,
)
from lab.look import Sight, wait_until
from lab.node import Node
from lab.servers import nginx

SYN = "tcp flags & (syn | ack) == syn"
LIMIT = "limit rate over 5/second burst 5 packets counter drop"
PORT = 80


class ConnectRateLimitUsedUp(ConnectCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "batch", "server")
        shop, batch, server = self.node.pods
        self.server = nginx(self.stage, server, PORT)
        filter_forwarded(self.node, f"ip daddr {server.address} tcp dport {PORT} {SYN} {LIMIT}")
        self.shop = self.stage.play(shop, "shop", call, [(server.address, PORT)], 3, 2)
        wait_until(lambda: len(calls(self.shop)) >= 10, 15, self.stage.logs)
        self.before = calls(self.shop)
        self.batch = self.stage.play(batch, "batch", call, [(server.address, PORT)], 40, 2)

    def look(self) -> Sight:
        """All of the shop's calls were answered until the batch job came, and since then most are not."""
        since, others = Calls(calls(self.shop)[len(self.before) :]), calls(self.batch)
        failed = since.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        there = self.before.share(ANSWERED) == 1.0 and len(failed) >= 10 and len(others.where(GAVE_UP)) >= 100
        seen = f"shop, before: {self.before}; since: {since}; batch: {others}; {filtered(self.node)} SYNs dropped"
        return Sight(there and 0 < others.share(ANSWERED) < 0.5, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            also=("connect-slow",),
            severities=("warning", "critical"),
            tolerated=(self.batch.who(),),
            innocent=(self.shop.who(), self.server.who()),
            others=(named(self.shop), named(self.batch)),
            endpoint=(self.node.pods[2].address, PORT),
        )
