"""Fifteen thousand users of a balancer with two replicas: thirty thousand entries, which are 60 % of the table.

Each connection is in the table twice, as it comes in and as it goes on to a backend, and each is used all the time. The
two pods have opened or taken up nearly all that is in it, and the table is as full after an hour as after a minute.
"""

from __future__ import annotations

from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight
from lab.node import NODE, Node
from lab.servers import HAPROXY, configured_haproxy, nginx
from lab.stage import Player, Pod
from lab.table import TableCase

USERS = 15_000
EVERY_SECONDS = 30
LIMIT = 50_000
NODE_PORT, PORT = 30080, 8080
EACH_MOST = 9000
"""Connections that one of the balancers takes: a few more than its half."""


class TableOfBalancersWithThirtyThousand(TableCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10
    age_seconds = 5
    ready_within_seconds = 90

    def start(self) -> None:
        self.node = Node(self.stage, "balancer1", "balancer2", "backend1", "backend2")
        balancers, backends = self.node.pods[:2], self.node.pods[2:]
        self.stage.conntrack_max(LIMIT)
        self.backends = [nginx(self.stage, pod) for pod in backends]
        pairs = zip(balancers, backends, strict=True)
        self.balancers = [self.balance(pod, f"{backend.address}:80") for pod, backend in pairs]
        self.node.service(NODE, NODE_PORT, *((pod.address, PORT) for pod in balancers))
        self.users = self.stage.play(self.node.outside, "browsers", keep_busy, NODE, NODE_PORT, USERS, EVERY_SECONDS)

    def balance(self, pod: Pod, upstream: str) -> Player:
        """A haproxy that takes more connections than those of other cases."""
        text = HAPROXY.format(mode="tcp", keep_alive="1h", port=PORT, upstream=upstream)
        assert "maxconn 6000" in text
        return configured_haproxy(self.stage, pod, PORT, text.replace("maxconn 6000", f"maxconn {EACH_MOST}"))

    def look(self) -> Sight:
        """All of them are listed only once they may be there: that takes the CPU from those who arrive."""
        if (count := self.table.count) < 2 * USERS:
            return Sight(False, f"{count} entries of {LIMIT}")
        used = self.table.entries.where("ESTABLISHED")
        there = len(used) == 2 * USERS and count < 0.65 * LIMIT and not self.table.statistics["drop"]
        return Sight(there, f"{used}; {self.table} of {LIMIT}")

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (*self.balancers, *self.backends, self.users))
        return Expected(rule=None, innocent=parts, bystanders=parts)
