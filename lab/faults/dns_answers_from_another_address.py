"""A name server that moved kept its old address as a second one; whoever asks there is answered from the first.

A resolver takes an answer only from the address that it asked, so its kernel throws each of them away, and the look-up
ends after some seconds with "temporary failure in name resolution". The server counts every question as answered, no
packet is lost, and no buffer is full. Another pod, which has been told the new address, is answered by the very same
process: whoever tests with that one clears the name server.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls, counter
from lab.datagrams import counters
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, answer_late, look_up_names, resolving
from lab.node import Node
from lab.stage import ip

OLD = "10.77.0.53"
NAMES = ["shop.lab"] * 6
AT_ONCE = 0.005


class DnsAnswersFromAnotherAddress(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "web", "dns")
        self.pod, beside, self.dns_pod = self.node.pods
        ip("-n", self.dns_pod.namespace, "addr", "add", f"{OLD}/32", "dev", "eth0")
        self.dns = self.stage.play(self.dns_pod, "coredns", answer_late, AT_ONCE)
        told = f"nameserver {OLD}\noptions timeout:1 attempts:2\n"
        self.client = resolving(self.stage, self.pod, "shop", told, look_up_names, NAMES, 0.2)
        right = f"nameserver {self.dns_pod.address}\n"
        self.other = resolving(self.stage, beside, "web", right, look_up_names, NAMES, 0.5)

    def look(self) -> Sight:
        made, others, asked = calls(self.client), calls(self.other), counters(self.dns_pod)
        unwanted = counter(self.pod.netns, "NoPorts")
        failing = made.where(NO_SERVER, at_least_seconds=1.9)  # all but those that came before the server
        there = len(failing) >= max(12, len(made) - 4) and unwanted >= 20 and asked.no_room == 0
        well = len(others) >= 30 and others.share(FOUND) > 0.95
        return Sight(there and well, f"{made}; {unwanted} answers thrown away; the server: {asked}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            tolerated=(self.dns.who(),),
            innocent=(self.client.who(), self.other.who()),
            bystanders=(self.other.who(),),
            others=(
                Named(self.client.who(), ("victim",)),
                Named(self.dns.who(), ("culprit", "holder", "peer", "reader")),
            ),
            endpoint=(OLD, PORT),
        )
