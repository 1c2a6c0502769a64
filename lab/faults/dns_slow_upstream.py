"""A name server that knows nothing by itself, and asks one far away: each answer takes 0.4 s, and each comes."""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls
from lab.look import Sight
from lab.names import FOUND, answer_late, look_up_names, resolving
from lab.servers import dnsmasq

LATE_SECONDS = 0.4
NAMES = [f"node{number}.far.example" for number in range(8)]


class DnsSlowUpstream(Case):
    kind = "look-alike"
    rules = NAME_RULES
    age_seconds = 2

    def start(self) -> None:
        shop, dns, far = self.stage.pods("shop", "dns", "far")
        self.far = self.stage.play(far, "far-dns", answer_late, LATE_SECONDS)
        self.dns = dnsmasq(self.stage, dns, "--cache-size=0", f"--server={far.address}")
        self.client = resolving(self.stage, shop, "shop", f"nameserver {dns.address}\n", look_up_names, NAMES, 0.5)

    def look(self) -> Sight:
        made = calls(self.client)
        late = made.where(FOUND, at_least_seconds=LATE_SECONDS)
        return Sight(len(made.where(FOUND)) == len(made) == len(late) >= 2 * len(NAMES), str(made))

    def expected(self) -> Expected:
        parts = (self.client.who(), self.dns.who(), self.far.who())
        return Expected(rule=None, cleared=("dns", "udp-buffers"), innocent=parts, bystanders=parts)
