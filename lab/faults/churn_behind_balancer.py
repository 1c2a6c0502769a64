"""Far too many connections to a load balancer's pod: the client is on another machine (incident 3).

It comes through a NodePort, whose address is translated to haproxy's; its own address it keeps. haproxy answers each
request on the few connections it has to its backends. Its pod is at one end of nearly all entries, and it opened none:
only the client's address can be named.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from lab.case import Expected
from lab.load import ask_anew
from lab.look import Sight
from lab.node import NODE, Node
from lab.servers import haproxy, nginx
from lab.table import TableCase, full_of_churn
from lab.who import Who

LIMIT = 4000
CLIENT = "203.0.113.7"
NODE_PORT = 30080


class ChurnBehindBalancer(TableCase):
    kind = "fault"
    mode: ClassVar[Literal["tcp", "http"]] = "http"

    def start(self) -> None:
        self.node = Node(self.stage, "balancer", "backend")
        self.balancer_pod, self.backend_pod = self.node.pods
        self.stage.conntrack_max(LIMIT)
        self.backend = nginx(self.stage, self.backend_pod)
        upstream = f"{self.backend_pod.address}:80"
        self.balancer = haproxy(self.stage, self.balancer_pod, 8080, upstream, mode=self.mode)
        self.node.service(NODE, NODE_PORT, (self.balancer_pod.address, 8080))
        self.client = self.stage.play(self.node.outside, "rpc-client", ask_anew, NODE, NODE_PORT, 700, CLIENT)

    def look(self) -> Sight:
        entries = self.table.entries
        arriving = entries.where(source=CLIENT, port=NODE_PORT)
        onward = entries.where(source=self.balancer_pod.address, port=80)
        return Sight(
            self.table.overflows(LIMIT), f"{self.table}; from {CLIENT}: {arriving}; from the balancer: {onward}"
        )

    def expected(self) -> Expected:
        return full_of_churn((Who("rpc-client", address=CLIENT),), (self.balancer.who(), self.backend.who()))
