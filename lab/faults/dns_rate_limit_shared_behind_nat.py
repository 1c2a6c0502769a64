"""A name server answers twenty questions a second to each address (ip-ratelimit), and all pods of a node have but one.

It is on another machine, and what pods send there leaves the node with the node's own address. A crawler asks it a
hundred and twenty times a second, the same kind of name over and over, and keeps no answer. So the share of the whole
node is used up, and the name server (unbound) throws away what is more, whoever asked, without a word: a shop in
another pod that asks for four names now and then reads "temporary failure in name resolution". The server is idle, its
buffer is empty and no packet is lost; from any other machine it answers at once.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls
from lab.datagrams import counters
from lab.faults.dns_flood_by_forwarder import ask_names
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.node import OUTSIDE, Node
from lab.servers import unbound

PER_SECOND, ALLOWED = 120, 20
NAMES = [f"api{number}.partner.shop" for number in range(4)]
HASTY = "options timeout:1 attempts:2"
LIMITED = f"""
server:
    ip-ratelimit: {ALLOWED}
    ip-ratelimit-factor: 0
    local-zone: "shop." redirect
    local-data: "shop. 60 IN A 10.1.2.3"
"""
NOWHERE = "127.0.0.1@9"
"""It knows all names of one domain by itself, and asks nobody."""


class DnsRateLimitSharedBehindNat(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "crawler", "shop")
        crawler, shop = self.node.pods
        self.dns = unbound(self.stage, self.node.outside, NOWHERE, LIMITED)
        told = f"nameserver {OUTSIDE}\n{HASTY}\n"
        self.crawler = self.stage.play(crawler, "crawler", ask_names, OUTSIDE, PER_SECOND)
        self.client = resolving(self.stage, shop, "shop", told, look_up_names, NAMES, 2.3)
        self.other = resolving(self.stage, self.node.outside, "elsewhere", told, look_up_names, NAMES[:2], 0.5)

    def look(self) -> Sight:
        made, others, asked = calls(self.client), calls(self.other), counters(self.node.outside)
        there = len(made) >= 16 and made.share(NO_SERVER) > 0.4 and asked.no_room == 0 and asked.read >= 300
        well = len(others) >= 16 and others.share(FOUND) > 0.95
        return Sight(there and well, f"{made}; the server: {asked}; from another machine: {others}")

    def expected(self) -> Expected:
        """The limit is the server's, the crawler uses it up, and neither can be proven from the node alone."""
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            tolerated=(self.crawler.who(), self.dns.who()),
            innocent=(self.client.who(), self.other.who()),
            bystanders=(self.other.who(),),
            others=(Named(self.client.who(), ("victim",)),),
            endpoint=(OUTSIDE, PORT),
        )
