"""dnsmasq asks two servers at once (--all-servers) and passes on what comes first; the second answer finds nobody.

The far server needs 0.8 s for each name, the near one hardly any time. When the answer from afar comes, the question
has been settled and its socket closed, so the kernel throws the answer away and says so by ICMP. Half of all answers
are lost like that, all day, and by intention: each name is found at once.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls, counter
from lab.datagrams import counters
from lab.look import Sight
from lab.names import FOUND, answer_late, look_up_names, resolving
from lab.servers import dnsmasq

NEAR_SECONDS, FAR_SECONDS = 0.01, 0.8
NAMES = [f"api{number}.partner.example" for number in range(6)]


class DnsSlowerOfTwoAnswersUnwanted(Case):
    kind = "look-alike"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        shop, self.dns_pod, near, self.far_pod = self.stage.pods("shop", "dns", "near", "far")
        self.near = self.stage.play(near, "near-dns", answer_late, NEAR_SECONDS)
        self.far = self.stage.play(self.far_pod, "far-dns", answer_late, FAR_SECONDS)
        both = (f"--server={near.address}", f"--server={self.far_pod.address}")
        self.dns = dnsmasq(self.stage, self.dns_pod, "--all-servers", "--cache-size=0", *both)
        told = f"nameserver {self.dns_pod.address}\n"
        self.client = resolving(self.stage, shop, "shop", told, look_up_names, NAMES, 0.4)

    def look(self) -> Sight:
        made, asked = calls(self.client), counters(self.far_pod).read
        unwanted = counter(self.dns_pod.netns, "NoPorts")
        late = made.where(at_least_seconds=FAR_SECONDS)
        there = len(made.where(FOUND)) == len(made) >= 50 <= asked and len(late) <= 0.05 * len(made)
        seen = f"{made}; the far server was asked {asked} times, {unwanted} answers found nobody"
        return Sight(there and unwanted >= 20, seen)

    def expected(self) -> Expected:
        parts = (self.client.who(), self.dns.who(), self.near.who(), self.far.who())
        return Expected(rule=None, cleared=("dns", "udp-buffers"), innocent=parts, bystanders=parts)
