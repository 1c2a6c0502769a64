"""A shop looks up each name by TCP (`options use-vc`), five a second, since a firewall of old lost fragments of UDP.

Each look-up is a connection to port 53 that the C library closes as soon as it has its answers, and so each leaves a
local port in TIME_WAIT for a minute: hundreds, against one or none that is in use. The shop keeps no answer and asks
for the same four names all day. It costs a round trip; every name is found, at once, and the name server (unbound),
which asks onwards by UDP, has room for twice as many connections as it ever sees.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls
from lab.datagrams import counters
from lab.look import Sight, connections
from lab.names import FOUND, PORT, look_up_names, resolving
from lab.servers import dnsmasq, unbound

NAMES = ["shop.lab"] * 4
EVERY_SECONDS, ENOUGH = 0.8, 40


class DnsAskedByTcpOnPurpose(Case):
    kind = "look-alike"
    rules = ("port-exhaustion", "time-wait-overflow", *NAME_RULES)
    rules_unread = True

    def start(self) -> None:
        self.pod, self.dns_pod, far = self.stage.pods("shop", "dns", "far")
        self.far = dnsmasq(self.stage, far)
        self.dns = unbound(self.stage, self.dns_pod, far.address)
        told = f"nameserver {self.dns_pod.address}\noptions use-vc\n"
        self.client = resolving(self.stage, self.pod, "shop", told, look_up_names, NAMES, EVERY_SECONDS)

    def look(self) -> Sight:
        made, by_udp = calls(self.client), counters(self.pod)
        waiting = connections(self.pod.netns).where("TIME-WAIT", peer_port=PORT)
        found = len(made) >= ENOUGH and made.share(FOUND) == 1.0
        there = found and len(waiting) >= ENOUGH and by_udp.read == by_udp.no_room == 0
        return Sight(there, f"{made}; {len(waiting)} connections to port {PORT} wait; by UDP: {by_udp}")

    def expected(self) -> Expected:
        """A rule that watches UDP alone may say that there is no DNS here."""
        parts = (self.client.who(), self.dns.who(), self.far.who())
        cleared = ("port-exhaustion", "time-wait-overflow")
        return Expected(rule=None, cleared=cleared, inapplicable=("dns",), innocent=parts, bystanders=parts)
