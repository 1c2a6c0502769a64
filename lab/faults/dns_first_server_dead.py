"""The first of two name servers is an address where nobody is any more; the second one answers everything.

The resolver asks them in turn, so that no look-up fails: each takes 5 s, which looks like a slow network. The second
server has no part in it.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls
from lab.look import Sight
from lab.names import FOUND, PORT, look_up_names, resolving, waiting
from lab.node import BLACK_HOLE, Node
from lab.servers import dnsmasq

NAMES = ["shop.lab"] * 6


class DnsFirstServerDead(ConnectCase):
    kind = "fault"
    rules = NAME_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "dns")
        self.pod, dns = self.node.pods
        self.dns = dnsmasq(self.stage, dns)
        servers = f"nameserver {BLACK_HOLE}\nnameserver {dns.address}\n"
        self.client = resolving(self.stage, self.pod, "shop", servers, look_up_names, NAMES, 0.2)

    def look(self) -> Sight:
        made = calls(self.client)
        late = made.where(FOUND, at_least_seconds=4.9)
        seen = f"{made}; {waiting(self.pod, BLACK_HOLE)} sockets wait for the first server"
        return Sight(len(late) == len(made) >= len(NAMES), seen)

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            shapes=("silent",),
            innocent=(self.client.who(), self.dns.who()),
            bystanders=(self.dns.who(),),
            others=(Named(self.client.who(), ("victim",)),),
            endpoint=(BLACK_HOLE, PORT),
        )
