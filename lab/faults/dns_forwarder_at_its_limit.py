"""dnsmasq as shipped asks 150 things at a time on behalf of others, and a crawler wants to know a thousand.

The server beyond it needs 2 s for each name, so that the 150 places are taken nearly always; whoever comes then is
refused at once (`--dns-forward-max`). A shop that looks up a few names fails with "temporary failure in name
resolution", although nothing is lost, dnsmasq has time to spare, and whoever asks it for a name of its own is answered.
Most of what is refused is the crawler's: by numbers it is the one that suffers.
"""

from __future__ import annotations

from lab.case import NAME_RULES, Case, Expected, Named
from lab.connects import calls
from lab.datagrams import counters
from lab.faults.dns_flood_by_forwarder import ask_names
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, PORT, answer_late, look_up_names, resolving
from lab.servers import dnsmasq

OWN = ["shop.lab"] * 4
FAR = [f"api{number}.partner.example" for number in range(8)]
KNOWN = ("--address=/shop.lab/10.1.2.3", "--local=/shop.lab/", "--cache-size=0", "--log-facility=-")
FULL = "Maximum number of concurrent DNS queries"
SECONDS, PER_SECOND = 2.0, 600


class DnsForwarderAtItsLimit(Case):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        shop, beside, crawler, self.dns_pod, far = self.stage.pods("shop", "web", "crawler", "dns", "far")
        self.far = self.stage.play(far, "far-dns", answer_late, SECONDS)
        self.dns = dnsmasq(self.stage, self.dns_pod, f"--server={far.address}", *KNOWN)
        self.crawler = self.stage.play(crawler, "crawler", ask_names, self.dns_pod.address, PER_SECOND)
        asking = f"nameserver {self.dns_pod.address}\n"
        self.client = resolving(self.stage, shop, "shop", asking, look_up_names, FAR, SECONDS + 0.5)
        self.other = resolving(self.stage, beside, "web", asking, look_up_names, OWN, 0.2)

    def look(self) -> Sight:
        made, others, asked = calls(self.client), calls(self.other), counters(self.dns_pod)
        full = self.dns.log.read_text(errors="replace").count(FULL)
        there = len(made.where(NO_SERVER)) >= 40 and made.share(NO_SERVER) > 0.4 and not asked.no_room
        well = len(others) >= 40 and others.share(FOUND) == 1.0
        return Sight(there and well and full > 0, f"{made}; full {full} times; dnsmasq: {asked}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            tolerated=(self.crawler.who(), self.dns.who(), self.far.who()),
            innocent=(self.client.who(), self.other.who()),
            bystanders=(self.other.who(),),
            others=(
                Named(self.client.who(), ("victim",)),
                Named(self.dns.who(), ("culprit", "holder", "peer")),
            ),
            endpoint=(self.dns_pod.address, PORT),
        )
