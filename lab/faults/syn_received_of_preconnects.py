"""Browsers connect to an Apache ahead of time and say nothing yet: it shows half-open connections by the hundred.

Apache asks the kernel to wake it for requests only (AcceptFilter, TCP_DEFER_ACCEPT), so that a connection stays in
SYN_RECV until the first byte. It looks like a flood of SYNs, and like lost handshakes to whoever compares both ends:
the browsers have long been connected. They are real, there is room for more, and who asks is answered at once.
"""

from __future__ import annotations

import socket
import time

from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import counter
from lab.load import ask_anew
from lab.look import Sight, connections
from lab.servers import apache

HELD, HOLD_SECONDS = 200, 12


def connect_ahead(address: str) -> None:
    """So many connections at a time; each is closed unused and made again, one after the other."""
    held: list[socket.socket] = []
    while True:
        held.append(socket.create_connection((address, 80)))
        if len(held) > HELD:
            held.pop(0).close()
        time.sleep(HOLD_SECONDS / HELD)


class SynReceivedOfPreconnects(Case):
    kind = "look-alike"
    rules = QUEUE_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        browsers, client, self.pod = self.stage.pods("browsers", "client", "web")
        self.server = apache(self.stage, self.pod)
        self.browsers = self.stage.play(browsers, "browser", connect_ahead, self.pod.address)
        self.client = self.stage.play(client, "shop", ask_anew, self.pod.address, 80, 20)

    def look(self) -> Sight:
        half = len(connections(self.pod.netns).where("SYN-RECV"))
        dropped = counter(self.pod.netns, "ListenDrops") + counter(self.pod.netns, "TCPReqQFullDrop")
        return Sight(half >= 0.8 * HELD and dropped == 0, f"{half} in SYN_RECV, {dropped} dropped")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.browsers.who(), self.client.who())
        return Expected(
            rule=None,
            cleared=("syn-queue", "accept-queue", "connect-slow", "connect-timeout"),
            innocent=parts,
            bystanders=parts,
        )
