"""Thousands of idle entries whose client is no more: it died without a word, and no socket of it is left.

Its pod's link went down, then it was killed: no FIN and no reset reached the node, which keeps the entries for five
days. The address that opened them is all there is to name; the server has done nothing.
"""

from __future__ import annotations

from lab.case import Expected
from lab.faults.idle_established import KEPT, LIMIT, SERVER
from lab.load import keep_idle
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import nginx
from lab.stage import end, inside
from lab.table import TableCase
from lab.who import Who


class IdleEstablishedClientDied(TableCase):
    kind = "fault"
    age_seconds = 56

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.server = nginx(self.stage, self.node.outside)
        client = self.stage.play(self.client_pod, "feed-reader", keep_idle, SERVER, 80, KEPT)
        wait_until(lambda: self.kept() == KEPT, 20, self.stage.logs)
        inside(self.client_pod, "ip", "link", "set", "eth0", "down")
        self.stage.players.remove(client)
        end(client)
        inside(self.client_pod, "ss", "-tanK", "state", "all")

    def kept(self) -> int:
        return len(self.table.entries.where("ESTABLISHED", source=self.client_pod.address, port=80))

    def look(self) -> Sight:
        left = connections(self.client_pod.netns)
        seen = f"{self.kept()} entries established, {left} sockets in the client's pod; {self.table} of {LIMIT}"
        return Sight(self.kept() == KEPT and not left, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            also=("socket-leak",),
            shapes=("idle-established",),
            culprits=(Who("feed-reader", address=self.client_pod.address),),
            innocent=(self.server.who(),),
            endpoint=(SERVER, 80),
        )
