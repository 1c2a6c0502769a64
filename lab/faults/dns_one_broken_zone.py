"""One program asks for names of a zone whose own server is broken; the name server that it asks is sound.

Four of its look-ups at a time end with SERVFAIL, for the name server has to pass on what it is told of that zone.
Another program, which asks the same name server for another name, is answered as often. Whoever counts failures alone
blames the name server that everybody has.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls
from lab.faults.dns_server_says_it_failed import fail
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, look_up_names, resolving
from lab.servers import dnsmasq

KNOWN = ["shop.lab"] * 4
BROKEN = [f"node{number}.broken.lab" for number in range(4)]


class DnsOneBrokenZone(Case):
    kind = "look-alike"
    rules = NAME_RULES
    age_seconds = 2

    def start(self) -> None:
        shop, beside, dns, far = self.stage.pods("shop", "web", "dns", "zone")
        self.far = self.stage.play(far, "zone-dns", fail)
        forwarded = f"--server=/broken.lab/{far.address}"
        self.dns = dnsmasq(self.stage, dns, "--address=/shop.lab/10.1.2.3", "--local=/#/", forwarded)
        told = f"nameserver {dns.address}\n"
        self.client = resolving(self.stage, shop, "shop", told, look_up_names, BROKEN, 0.2)
        self.other = resolving(self.stage, beside, "web", told, look_up_names, KNOWN, 0.2)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        there = len(made.where(NO_SERVER)) == len(made) >= 40 <= len(others.where(FOUND)) == len(others)
        return Sight(there, f"{made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.dns.who(), self.far.who(), self.client.who(), self.other.who()))
