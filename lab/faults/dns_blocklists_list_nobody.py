"""A mail filter asks two blocklists about each sender, and nearly all day both say that there is no such name.

That is what it hopes to hear: who is in no list is no spammer. Its own look-up of the sender's domain succeeds each
time. Of all its look-ups two thirds end with NXDOMAIN, at once, as every mail server of the world has it; whoever
counts names that were not found takes the name server for broken, or the filter for misconfigured.
"""

from __future__ import annotations

import time
from itertools import count
from threading import Thread

from lab.actor import rest
from lab.case import NAME_RULES, Case, Expected
from lab.connects import calls, log
from lab.datagrams import counters
from lab.look import Sight
from lab.names import FOUND, NO_SERVER, NOT_FOUND, look_up_names, outcome, resolving
from lab.servers import dnsmasq

THREADS, EVERY_SECONDS = 4, 0.4
LISTS = ("zen.blocklist.lab", "spam.senders.lab")
WEB = ["www.sender.lab"] * 2


def filter_mail() -> None:
    """A mail after the other in each thread, each from another address; names are absolute, as such filters ask."""

    def go_on(thread: int) -> None:
        begin = time.monotonic()
        for number in count():
            reversed_address = f"{number % 250}.{number // 250 % 250}.{thread}.198"
            for name in (f"mx{number}.sender.lab.", *(f"{reversed_address}.{listed}." for listed in LISTS)):
                asked = time.monotonic()
                log(outcome(name), time.monotonic() - asked)
            time.sleep(max(0.0, begin + number * EVERY_SECONDS - time.monotonic()))

    for thread in range(THREADS):
        Thread(target=go_on, args=(thread,)).start()
    rest()


class DnsBlocklistsListNobody(Case):
    kind = "look-alike"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        mail, beside, self.dns_pod = self.stage.pods("mail", "web", "dns")
        self.dns = dnsmasq(self.stage, self.dns_pod, "--address=/sender.lab/10.1.2.3", "--local=/#/")
        told = f"nameserver {self.dns_pod.address}\n"
        self.client = resolving(self.stage, mail, "mail-filter", told, filter_mail)
        self.other = resolving(self.stage, beside, "web", told, look_up_names, WEB, 0.5)

    def look(self) -> Sight:
        made, others, asked = calls(self.client), calls(self.other), counters(self.dns_pod)
        there = len(made) >= 60 and not made.where(NO_SERVER) and 0.55 < made.share(NOT_FOUND) < 0.75
        well = len(others.where(FOUND)) == len(others) >= 10 and asked.no_room == 0
        return Sight(there and well, f"{made}; the server: {asked}; beside: {others}")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.other.who(), self.dns.who())
        return Expected(rule=None, cleared=("udp-buffers",), innocent=parts, bystanders=parts)
