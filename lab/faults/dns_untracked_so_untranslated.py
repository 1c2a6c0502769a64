"""To spare a node's table somebody told it not to track name look-ups; what is not tracked is not translated either.

The rule (notrack, for UDP to port 53) was meant well: each look-up had left an entry for half a minute. But the address
of the DNS Service exists in the node's rules alone, so that each question now leaves by the uplink for an address that
nobody has, and the look-up ends with "temporary failure in name resolution". The Service has its endpoint and its rule,
and the name server hears nothing and is idle. Whoever tries it from another pod by the server's own address is
answered, and so is who asks the Service by TCP (dig +tcp).
"""

from __future__ import annotations

import re
import subprocess

from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.node import Node
from lab.servers import dnsmasq
from lab.stage import inside

DNS = "10.96.0.10"
NAMES = ["shop.lab"] * 6
HASTY = "options timeout:1 attempts:2"


class DnsUntrackedSoUntranslated(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "web", "batch", "dns")
        shop, web, batch, dns = self.node.pods
        self.dns = dnsmasq(self.stage, dns)
        for protocol in ("udp", "tcp"):
            self.node.service(DNS, PORT, (dns.address, PORT), protocol=protocol)
        inside(self.node.host, "nft", "add chain inet lab untracked { type filter hook prerouting priority raw; }")
        inside(self.node.host, "nft", f"add rule inet lab untracked udp dport {PORT} counter notrack")
        told = f"nameserver {DNS}\n{HASTY}\n"
        self.client = resolving(self.stage, shop, "shop", told, look_up_names, NAMES, 0.2)
        own = f"nameserver {dns.address}\n{HASTY}\n"
        self.other = resolving(self.stage, web, "web", own, look_up_names, NAMES[:2], 0.5)
        by_tcp = f"nameserver {DNS}\noptions use-vc\n"
        self.batch = resolving(self.stage, batch, "batch", by_tcp, look_up_names, NAMES[:2], 0.5)

    def untracked(self) -> int:
        """Packets that the rule has met."""
        listing = ["nft", "list", "chain", "inet", "lab", "untracked"]
        command = ["nsenter", f"--net={self.node.host.netns}", *listing]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", listed)))

    def look(self) -> Sight:
        made, others, by_tcp, untracked = calls(self.client), calls(self.other), calls(self.batch), self.untracked()
        failing = made.where(NO_SERVER, at_least_seconds=1.9)
        well = all(len(one) >= 10 and one.share(FOUND) > 0.95 for one in (others, by_tcp))
        there = len(failing) == len(made) >= 12 and untracked >= 20
        return Sight(there and well, f"{made}; {untracked} not tracked; beside: {others}; by TCP: {by_tcp}")

    def expected(self) -> Expected:
        """No program has done it. Whoever restarts the name server has lost its cache, and nothing is found."""
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            innocent=(self.client.who(), self.other.who(), self.batch.who(), self.dns.who()),
            bystanders=(self.other.who(), self.batch.who(), self.dns.who()),
            others=(Named(self.client.who(), ("victim",)),),
            endpoint=(DNS, PORT),
        )
