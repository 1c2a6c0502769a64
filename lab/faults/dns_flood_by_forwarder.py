"""unbound, which forwards all questions to a server outside, from a port of its own for each: thousands of entries.

So it should, against forged answers. A crawler asks it for eight hundred names a second that nobody has asked for
before, all from one socket, which is one entry. Who opens all the others is unbound; why it does is the crawler. To
call the one or both the culprit is right, and the server outside has only answered.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from lab.actor import every, rest
from lab.case import Expected, Named
from lab.look import Sight
from lab.node import OUTSIDE, Node
from lab.servers import dnsmasq, unbound
from lab.table import TableCase

LIMIT = 4000


def ask_names(address: str, per_second: int) -> None:
    """From one socket, each for a name that was never asked for; answers are read, no more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect((address, 53))
        for number in every(1 / per_second, times=1_000_000):
            with suppress(OSError):
                asker.send(question(f"page{number}".encode()))
            with suppress(BlockingIOError):
                while asker.recv(512, socket.MSG_DONTWAIT):
                    pass
    rest()


def question(host: bytes) -> bytes:
    """Of type A, for a host of the domain shop."""
    name = bytes((len(host),)) + host + b"\x04shop\0"
    return struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)


class DnsFloodByForwarder(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "crawler", "resolver")
        self.client_pod, self.resolver_pod = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.far = dnsmasq(self.stage, self.node.outside, "--address=/#/10.1.2.3")
        self.resolver = unbound(self.stage, self.resolver_pod, OUTSIDE)
        self.client = self.stage.play(self.client_pod, "crawler", ask_names, self.resolver_pod.address, 800)

    def look(self) -> Sight:
        entries = self.table.entries
        forwarded = entries.where(source=self.resolver_pod.address, destination=OUTSIDE, port=53)
        own = entries.where(source=self.client_pod.address, port=53)
        return Sight(len(forwarded) >= 0.9 * LIMIT, f"{forwarded}; the crawler's own: {own}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            shapes=("dns",),
            tolerated=(self.resolver.who(), self.client.who()),
            innocent=(self.far.who(),),
            others=(Named(self.resolver.who(), ("culprit", "holder")),),
            endpoint=(OUTSIDE, 53),
        )
