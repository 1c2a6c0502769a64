"""A Service without endpoints hangs instead of refusing (asked for in incident 1).

No rule translates its address, so attempts leave by the uplink, where nobody has such an address. The client waits five
seconds for each, a few at a time; the table has room.
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import Expected
from lab.load import connect_anew, keep_busy
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import nginx
from lab.table import TableCase

SERVICE, OTHER_SERVICE = "10.96.0.20", "10.96.0.21"


class ServiceWithoutEndpoints(TableCase):
    kind = "fault"
    age_seconds = 8
    changes_global = False
    hanging: ClassVar[int] = 30

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        self.client_pod, self.server_pod = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.node.service(OTHER_SERVICE, 80, (self.server_pod.address, 80))
        self.prepare()
        self.other = self.stage.play(self.client_pod, "browser", keep_busy, OTHER_SERVICE, 80, 20, 1)
        self.client = self.stage.play(self.client_pod, "checkout", connect_anew, [(SERVICE, 80)], 8, 5)

    def prepare(self) -> None:
        """Whatever makes the Service hang."""

    def look(self) -> Sight:
        hanging = connections(self.client_pod.netns).where("SYN-SENT", peer_port=80)
        return Sight(len(hanging) >= self.hanging, f"{hanging} sockets in SYN-SENT; {self.table.entries}; {self.table}")

    def expected(self) -> Expected:
        return Expected(
            rule="service-hang",
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            endpoint=(SERVICE, 80),
        )
