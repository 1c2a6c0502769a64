"""A name server is stopped (SIGSTOP) under load: what is asked fills its receive buffer, and the rest is thrown away.

Its socket drops, and its owner is to be named with its state; the crawler that asks is innocent.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from lab.actor import every
from lab.case import QUEUE_RULES, Case, Expected, Named
from lab.datagrams import counters
from lab.load import A, question
from lab.look import Sight, wait_until
from lab.names import PORT
from lab.servers import dnsmasq
from lab.stage import status


def ask_on(address: str, at_once: int, every_seconds: float) -> None:
    """So many questions at each turn; whatever was answered until then is read."""
    asked = question(A)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asker:
        for _ in every(every_seconds, times=1_000_000):
            with suppress(BlockingIOError):
                while asker.recv(512):
                    pass
            for _ in range(at_once):
                asker.sendto(asked, (address, PORT))


class UdpNameServerStopped(Case):
    kind = "fault"
    rules = QUEUE_RULES
    age_seconds = 2

    def start(self) -> None:
        client, self.dns_pod = self.stage.pods("client", "dns")
        self.dns = dnsmasq(self.stage, self.dns_pod)
        self.client = self.stage.play(client, "crawler", ask_on, self.dns_pod.address, 10, 0.02)
        wait_until(lambda: counters(self.dns_pod).read > 500, 10, self.stage.logs)
        os.kill(self.dns.pid, signal.SIGSTOP)

    def look(self) -> Sight:
        seen, state = counters(self.dns_pod), status(self.dns.pid)
        return Sight(seen.no_room > 100 and state == "T", f"{seen}, dnsmasq in state {state}")

    def expected(self) -> Expected:
        return Expected(
            rule="udp-buffers",
            severities=("warning", "critical"),
            shapes=("receiver-stopped",),
            innocent=(self.client.who(),),
            bystanders=(self.client.who(),),
            others=(Named(self.dns.who(state="stopped"), ("reader", "holder")),),
        )
