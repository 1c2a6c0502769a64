"""A balancer with many busy connections: nearly all entries of the node are its own or its clients', and all in use."""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.load import keep_busy
from lab.look import Sight
from lab.node import NODE, Node
from lab.servers import haproxy, nginx
from lab.table import TableCase

CLIENTS = 1300
NODE_PORT = 30080


class TableOfBusyBalancer(TableCase):
    kind = "look-alike"
    quick = True
    limit: ClassVar[int] = 5000

    def start(self) -> None:
        self.node = Node(self.stage, "balancer", "backend")
        self.balancer_pod, self.backend_pod = self.node.pods
        self.stage.conntrack_max(self.limit)
        self.backend = nginx(self.stage, self.backend_pod)
        self.balancer = haproxy(self.stage, self.balancer_pod, 8080, f"{self.backend_pod.address}:80")
        self.node.service(NODE, NODE_PORT, (self.balancer_pod.address, 8080))
        self.clients = self.stage.play(self.node.outside, "browsers", keep_busy, NODE, NODE_PORT, CLIENTS, 4)

    def look(self) -> Sight:
        used = self.table.entries.where("ESTABLISHED")
        return Sight(len(used) == 2 * CLIENTS, f"{used}; {self.table} of {self.limit}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.balancer.who(), self.backend.who(), self.clients.who()))
