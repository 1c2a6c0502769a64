"""A name server behind a Service was replaced, and a forwarder that asks from one fixed port is led to the old one.

dnsmasq is told to ask from one port (`--query-port`, for a firewall that is long gone). All its questions are one flow
to the node, which has chosen an endpoint for it once; each question keeps that entry alive, and nobody has deleted it
when the Service was changed. So it asks a pod that is gone, for as long as anybody asks dnsmasq. A shop behind it reads
"temporary failure in name resolution". Whoever tries the Service from another pod, or looks at its endpoints and rules,
finds all in order; the forwarder runs, is idle, and has sent on what it was asked.
"""

from __future__ import annotations

import subprocess

from lab.case import NAME_RULES, Expected, Named
from lab.connects import Calls, ConnectCase, calls
from lab.look import Sight, wait_until
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.node import Node
from lab.servers import dnsmasq
from lab.stage import end, inside

DNS, QUERY_PORT = "10.96.0.10", 10_053
NAMES = ["shop.lab"] * 4
HASTY = "options timeout:2 attempts:1\n"


class DnsStaleTranslationOfForwarder(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "web", "resolver", "dns-old", "dns-new")
        shop, web, self.resolver_pod, self.old_pod, self.new_pod = self.node.pods
        old, self.new = dnsmasq(self.stage, self.old_pod), dnsmasq(self.stage, self.new_pod)
        self.node.service(DNS, PORT, (self.old_pod.address, PORT), protocol="udp")
        onwards = (f"--server={DNS}", f"--query-port={QUERY_PORT}", "--cache-size=0", "--dns-forward-max=1000")
        self.resolver = dnsmasq(self.stage, self.resolver_pod, *onwards)
        told = f"nameserver {self.resolver_pod.address}\n{HASTY}"
        self.client = resolving(self.stage, shop, "shop", told, look_up_names, NAMES, 0.5)
        wait_until(lambda: len(calls(self.client).where(FOUND)) >= 12, 20, self.stage.logs)
        for chain in ("services", "own"):
            inside(self.node.host, "nft", f"flush chain inet lab {chain}")
        self.node.service(DNS, PORT, (self.new_pod.address, PORT), protocol="udp")
        inside(self.old_pod, "ip", "link", "set", "eth0", "down")
        self.stage.players.remove(old)
        end(old)
        self.before = len(calls(self.client)) + len(NAMES)
        self.other = resolving(self.stage, web, "web", f"nameserver {DNS}\n{HASTY}", look_up_names, NAMES[:2], 0.5)

    def led_astray(self) -> int:
        """Entries of the forwarder whose answers would have to come from the old name server."""
        to_old = ["conntrack", "-L", "-p", "udp", "--reply-src", self.old_pod.address]
        command = ["nsenter", f"--net={self.node.host.netns}", *to_old]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return sum(f"src={self.resolver_pod.address} dst={DNS} sport={QUERY_PORT}" in line for line in lines)

    def look(self) -> Sight:
        since, others, stale = Calls(calls(self.client)[self.before :]), calls(self.other), self.led_astray()
        well = len(others) >= 10 and others.share(FOUND) == 1.0
        there = len(since) >= 8 and since.share(NO_SERVER) == 1.0 and stale == 1
        return Sight(there and well, f"shop, since then: {since}; {stale} entry to the old server; beside: {others}")

    def expected(self) -> Expected:
        """That the forwarder gives no answer is true, but the reason is before it: a restart would not help."""
        innocent = (self.client.who(), self.other.who(), self.resolver.who(), self.new.who())
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            innocent=innocent,
            bystanders=(self.other.who(), self.new.who()),
            others=(
                Named(self.client.who(), ("victim",)),
                Named(self.resolver.who(), ("peer", "holder", "victim", "reader")),
            ),
        )
