"""A node that only routes: no rule needs connection tracking, the table is empty, and nothing can be wrong with it."""

from __future__ import annotations

from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase


class NothingTracked(TableCase):
    kind = "look-alike"
    changes_global = False

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server", firewall="none")
        self.client_pod, self.server_pod = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "shop", keep_busy, self.server_pod.address, 80, 200, 1)

    def look(self) -> Sight:
        used = connections(self.client_pod.netns).where("ESTAB", peer_port=80)
        return Sight(len(used) == 200 and self.table.count == 0, f"{used} sockets; {self.table}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            inapplicable=("conntrack-table", "service-hang", "dns-race"),
            innocent=(self.server.who(), self.client.who()),
        )
