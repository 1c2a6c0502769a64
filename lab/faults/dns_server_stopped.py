"""A name server that somebody stopped (SIGSTOP, a debugger): it answered until then, and now nobody is answered.

Its address is there and its port is open, so that no error comes back. Two pods look up names all the time and wait 5 s
for each answer, twice. That the server is stopped has to be said.
"""

from __future__ import annotations

import os
import signal

from lab.case import NAME_RULES, Case, Expected, Named
from lab.connects import calls
from lab.look import Sight, wait_until
from lab.names import FOUND, PORT, look_up_names, resolving, waiting
from lab.servers import dnsmasq
from lab.stage import Pod, status

NAMES = ["shop.lab"] * 4


class DnsServerStopped(Case):
    kind = "fault"
    rules = NAME_RULES
    age_seconds = 2

    def start(self) -> None:
        *self.pods, dns = self.make_pods("shop", "cart", "dns")
        self.address = dns.address
        self.dns = dnsmasq(self.stage, dns)
        self.clients = [
            resolving(self.stage, pod, comm, f"nameserver {self.address}\n", look_up_names, NAMES, 0.2)
            for pod, comm in zip(self.pods, ("shop", "cart"), strict=True)
        ]
        wait_until(self.all_answered, 10, self.stage.logs)
        os.kill(self.dns.pid, signal.SIGSTOP)

    def make_pods(self, *names: str) -> tuple[Pod, ...]:
        return self.stage.pods(*names)

    def all_answered(self) -> bool:
        return all(len(calls(client).where(FOUND)) > 10 for client in self.clients)

    def look(self) -> Sight:
        asking = [waiting(pod, self.address) for pod in self.pods]
        state = status(self.dns.pid)
        return Sight(min(asking) == len(NAMES) and state == "T", f"{asking} sockets wait, dnsmasq in state {state}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            severities=("warning", "critical"),
            shapes=("silent",),
            innocent=tuple(client.who() for client in self.clients),
            others=(
                Named(self.dns.who(state="stopped"), ("peer", "holder", "reader")),
                *(Named(client.who(), ("victim",)) for client in self.clients),
            ),
            endpoint=(self.address, PORT),
        )
