"""A policy lets a pod ask its name server by UDP alone, and one name has sixty addresses: that name is never found.

The answer does not fit into a datagram of 512 bytes, so the name server sends what is left of it with the bit that
says so, and the resolver asks again over TCP, as it must (RFC 7766). Those SYNs are dropped. All other names are found
at once, by the same servers and over the same path: whoever tests with one of them clears DNS and the network.
"""

from __future__ import annotations

import socket
import time
from threading import Thread

from lab.actor import rest
from lab.case import NAME_RULES, Expected
from lab.connects import ConnectCase, calls, filter_forwarded, filtered, log, named
from lab.load import A, question
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.node import Node
from lab.servers import dnsmasq

MANY = [f"--host-record=shop.lab,10.1.2.{number}" for number in range(1, 61)]
SMALL = ["cart.lab"] * 4
TRUNCATED = 0x02
"""In the third byte of an answer (TC)."""


def resolve(server: str) -> None:
    """With a limit of 2 s, as resolver libraries have one of a few seconds."""

    def go_on() -> None:
        while True:
            begin = time.monotonic()
            log(look_up(server), time.monotonic() - begin)
            time.sleep(0.2)

    for _ in range(8):
        Thread(target=go_on).start()
    rest()


def look_up(server: str) -> str:
    asked = question(A)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect((server, PORT))
        asker.send(asked)
        if not asker.recv(512)[2] & TRUNCATED:
            return FOUND
    try:
        with socket.create_connection((server, PORT), timeout=2) as again:
            again.sendall(len(asked).to_bytes(2, "big") + asked)
            return FOUND if again.recv(4096) else NO_SERVER
    except OSError:
        return NO_SERVER


class DnsLargeAnswersNeedTcp(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = NAME_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "cart", "dns")
        shop, cart, self.dns_pod = self.node.pods
        self.dns = dnsmasq(self.stage, self.dns_pod, *MANY, "--address=/cart.lab/10.1.3.1", "--local=/#/")
        filter_forwarded(self.node, f"ip daddr {self.dns_pod.address} tcp dport {PORT} counter drop")
        self.client = self.stage.play(shop, "shop", resolve, self.dns_pod.address)
        told = f"nameserver {self.dns_pod.address}\n"
        self.other = resolving(self.stage, cart, "cart", told, look_up_names, SMALL, 0.2)

    def look(self) -> Sight:
        made, others, dropped = calls(self.client), calls(self.other), filtered(self.node)
        late = made.where(NO_SERVER, at_least_seconds=1.9)
        there = len(late) == len(made) >= 16 <= dropped and len(others.where(FOUND)) == len(others) >= 20
        return Sight(there, f"{made}; {dropped} SYNs dropped; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            also=("dns",),
            severities=("warning", "critical"),
            innocent=(self.client.who(), self.other.who(), self.dns.who()),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            endpoint=(self.dns_pod.address, PORT),
        )
