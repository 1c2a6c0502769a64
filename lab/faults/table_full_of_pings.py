"""A monitor pings two hundred hosts, each ping with an identifier of its own, and the table is full of them.

Whoever starts ping(8) for each host and each round gets a new identifier each time, and to connection tracking that is
another flow: half a minute for each, though it was answered within a millisecond. A hundred a second want room for
three thousand (the table is lowered for this). It is neither TCP nor UDP and has no port; the monitor has one socket
and no connection, and its hosts are all well. A shop with twenty connections has the most sockets, and a web program
that connects three times a second is the one whose packets are dropped.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from lab.actor import every
from lab.arrivals import checksum
from lab.case import Expected
from lab.connects import call, calls
from lab.load import keep_busy
from lab.look import Sight
from lab.table import TableCase

LIMIT, PER_SECOND, HOSTS = 1500, 100, 200
SERVER = "203.0.113.250"
ECHO = 8


def ping_all() -> None:
    """What comes back is read, no more."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as pinger:
        for number in every(1 / PER_SECOND, times=1_000_000):
            with suppress(OSError):
                pinger.sendto(echo(number), (f"203.0.113.{number % HOSTS + 1}", 0))
            with suppress(BlockingIOError):
                while pinger.recv(2_000, socket.MSG_DONTWAIT):
                    pass


def echo(number: int) -> bytes:
    """A request with this identifier, the first of its kind."""
    body = struct.pack("!HH", number & 0xFFFF, 1) + bytes(56)
    return struct.pack("!BBH", ECHO, 0, checksum(struct.pack("!BBH", ECHO, 0, 0) + body)) + body


class TableFullOfPings(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.pod, shop, web = self.furnish(LIMIT, "monitor", "shop", "web")
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 20, 1)
        self.web = self.stage.play(web, "web", call, [(SERVER, 80)], 3, 2)
        self.monitor = self.stage.play(self.pod, "monitor", ping_all)

    def look(self) -> Sight:
        own = self.table.entries.where(source=self.pod.address)
        pings = [entry for entry in own if entry.protocol == "icmp"]
        replied = sum(entry.replied for entry in pings)
        there = self.table.overflows(LIMIT) and len(pings) >= 0.75 * LIMIT and replied >= 0.7 * LIMIT
        return Sight(there, f"{len(pings)} pings, {replied} answered; {self.table} of {LIMIT}; web: {calls(self.web)}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            also=("service-hang",),
            severities=("warning", "critical"),
            culprits=(self.monitor.who(),),
            innocent=(self.server.who(), self.shop.who(), self.web.who()),
            bystanders=(self.shop.who(),),
        )
