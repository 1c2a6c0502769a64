"""A node forgets connections that were idle for five seconds, and takes each up again when it is used: nobody feels it.

Somebody has lowered nf_conntrack_tcp_timeout_established, from five days, to keep the table small. A feed has sixty
connections to another pod and asks on each every ten seconds. Half of them are in no table at any time; watched by its
events, connections vanish after exactly five seconds, as if the server had closed them (incident 5), and new ones come.
But their addresses are not translated, no rule drops what is not tracked, and the kernel takes up a connection in its
middle (nf_conntrack_tcp_loose): each request is answered, and no socket has ever been closed.
"""

from __future__ import annotations

from lab.case import TABLE_RULES, Expected
from lab.connects import ConnectCase
from lab.load import REQUEST, keep_busy
from lab.look import Sight, connections, tcp_counter
from lab.node import Node
from lab.servers import nginx
from lab.stage import inside
from lab.table import entries

FORGETFUL = ("net.netfilter.nf_conntrack_tcp_timeout_established=5", "net.netfilter.nf_conntrack_tcp_loose=1")
KEPT, EVERY_SECONDS, AGAIN = 60, 10, 2


class TableForgetsIdleConnections(ConnectCase):
    kind = "look-alike"
    rules = (*TABLE_RULES, "keepalive-mismatch", "connect-timeout", "resets")
    rules_unread = True
    window_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "feed", "catalog")
        self.pod, catalog = self.node.pods
        inside(self.node.host, "sysctl", "-qw", *FORGETFUL)
        self.server = nginx(self.stage, catalog)
        self.client = self.stage.play(self.pod, "feed", keep_busy, catalog.address, 80, KEPT, EVERY_SECONDS)

    def look(self) -> Sight:
        """Each connection has been used again after it was forgotten, and not one was reset."""
        kept = connections(self.pod.netns).where("ESTAB", peer_port=80)
        used = sum(one.acked >= AGAIN * len(REQUEST) for one in kept)
        known = entries(self.node.host.netns).where("ESTABLISHED", source=self.pod.address, port=80)
        resets = tcp_counter(self.pod.netns, "EstabResets")
        there = len(kept) == used == KEPT and 0 < len(known) <= 0.8 * KEPT and resets == 0
        return Sight(there, f"{used} of {len(kept)} connections used again, {len(known)} are known; {resets} resets")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        cleared = ("conntrack-table", "keepalive-mismatch")
        return Expected(rule=None, cleared=cleared, innocent=parts, bystanders=parts)
