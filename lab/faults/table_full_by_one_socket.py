"""A peer-to-peer program with a single UDP socket asks thousands of peers, most of them gone: the table is full.

Each peer is an entry for half a minute, answered or not. Counting sockets shows the program last, with one, and a shop
with twenty connections first; counting entries shows whose they are.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight
from lab.table import TableCase

LIMIT, PER_SECOND, PORT = 3000, 400, 6881
SERVER = "203.0.113.80"


def find_peers() -> None:
    """Nobody is at these addresses; a ping of that protocol to each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("", PORT))
        for number in every(1 / PER_SECOND, times=1_000_000):
            asker.sendto(b"d1:y1:q1:q4:pinge", (f"10.80.{number // 250 % 250}.{number % 250 + 1}", PORT))


class TableFullByOneSocket(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        finder, shop = self.furnish(LIMIT, "finder", "shop")
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 20, 1)
        self.client = self.stage.play(finder, "peerfinder", find_peers)

    def look(self) -> Sight:
        return self.look_by_pod(LIMIT)

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("critical",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(), self.shop.who()),
            bystanders=(self.shop.who(),),
        )
