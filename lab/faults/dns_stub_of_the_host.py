"""One container has the resolv.conf of its host, which leads to 127.0.0.53: in the container nobody listens there.

systemd-resolved listens at that address on the host, and only there. The kernel refuses each query at once, so the
look-up ends within a millisecond with "temporary failure in name resolution", and nothing leaves the pod. The cluster's
name server, which everybody suspects, is never asked; beside it another pod is answered.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls, counter
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, look_up_names, resolving
from lab.node import Node
from lab.servers import dnsmasq

STUB = "127.0.0.53"
NAMES = ["shop.lab"] * 4


class DnsStubOfTheHost(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "web", "dns")
        self.pod, beside, dns = self.node.pods
        self.dns = dnsmasq(self.stage, dns)
        self.client = resolving(self.stage, self.pod, "shop", f"nameserver {STUB}\n", look_up_names, NAMES, 0.2)
        right = f"nameserver {dns.address}\n"
        self.other = resolving(self.stage, beside, "web", right, look_up_names, NAMES, 0.2)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        nobody = counter(self.pod.netns, "InDestUnreachs")
        there = len(made.where(NO_SERVER)) == len(made) >= 40 <= len(others.where(FOUND)) == len(others)
        return Sight(there and nobody >= 40, f"{made}; {nobody} times nobody there; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            innocent=(self.client.who(), self.other.who(), self.dns.who()),
            bystanders=(self.other.who(), self.dns.who()),
            others=(Named(self.client.who(), ("victim",)),),
            endpoint=(STUB, PORT),
        )
