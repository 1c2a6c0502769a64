"""A name server that answers every query at once with SERVFAIL, because it cannot reach the server it would ask itself.

Packets flow both ways, nothing waits and nothing is lost, and yet no name is found: "temporary failure in name
resolution". A tool that only looks for silence calls this network healthy. The program that asks is a victim; another
name server beside it answers as it should.
"""

from __future__ import annotations

import socket

from lab.case import NAME_RULES, Case, Expected, Named
from lab.connects import calls
from lab.datagrams import counters
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.servers import dnsmasq

NAMES = ["shop.lab"] * 4
SERVER_FAILED = bytes.fromhex("8182 0001 0000 0000 0000")


def fail() -> None:
    """The question comes back, with the flags that say so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", PORT))
        while True:
            asked, asker = server.recvfrom(512)
            server.sendto(asked[:2] + SERVER_FAILED + asked[12 : asked.index(b"\0", 12) + 5], asker)


class DnsServerSaysItFailed(Case):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        shop, beside, self.dns_pod, sound = self.stage.pods("shop", "web", "dns", "sound")
        self.dns = self.stage.play(self.dns_pod, "coredns", fail)
        self.sound = dnsmasq(self.stage, sound)
        failing, right = (f"nameserver {pod.address}\n" for pod in (self.dns_pod, sound))
        self.client = resolving(self.stage, shop, "shop", failing, look_up_names, NAMES, 0.2)
        self.other = resolving(self.stage, beside, "web", right, look_up_names, NAMES, 0.2)

    def look(self) -> Sight:
        made, others, asked = calls(self.client), calls(self.other), counters(self.dns_pod)
        there = len(made.where(NO_SERVER)) == len(made) >= 40 <= len(others.where(FOUND)) == len(others)
        return Sight(there and asked.no_room == 0, f"{made}; the server: {asked}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            tolerated=(self.dns.who(),),
            innocent=(self.client.who(), self.other.who(), self.sound.who()),
            bystanders=(self.other.who(), self.sound.who()),
            others=(
                Named(self.client.who(), ("victim",)),
                Named(self.dns.who(), ("culprit", "holder", "peer")),
            ),
            endpoint=(self.dns_pod.address, PORT),
        )
