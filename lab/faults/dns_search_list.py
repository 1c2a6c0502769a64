"""Names of elsewhere under a long search list (ndots:5, as in a cluster): for each, ten queries say that there is none.

The name server answers all of them at once, and the last two with what was wanted. It costs queries, and nobody waits.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls
from lab.datagrams import counters
from lab.look import Sight
from lab.names import FOUND, look_up_names, resolving
from lab.servers import dnsmasq

RESOLV_CONF = """search shop.svc.cluster.lab svc.cluster.lab cluster.lab corp.lab lab
nameserver {}
options ndots:5
"""
NAMES = ["api.example.com"] * 4
QUERIES = 12


class DnsSearchList(Case):
    kind = "look-alike"
    rules = NAME_RULES
    age_seconds = 2

    def start(self) -> None:
        shop, self.dns_pod = self.stage.pods("shop", "dns")
        self.dns = dnsmasq(self.stage, self.dns_pod, "--address=/api.example.com/10.1.2.3", "--local=/#/")
        resolv_conf = RESOLV_CONF.format(self.dns_pod.address)
        self.client = resolving(self.stage, shop, "shop", resolv_conf, look_up_names, NAMES, 0.05)

    def look(self) -> Sight:
        made, asked = calls(self.client), counters(self.dns_pod).read
        there = len(made.where(FOUND)) == len(made) >= 50 and asked >= QUERIES * len(made)
        return Sight(there, f"{made}; {asked} queries")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.dns.who())
        return Expected(rule=None, cleared=("udp-buffers", "connect-timeout"), innocent=parts, bystanders=parts)
