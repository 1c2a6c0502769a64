"""The gateway has 64 ports for what its pods ask of the outside, and a mirror keeps a connection on each of them.

So small are the shares of ports that NAT gateways of clouds give to a machine. A port serves for many destinations, but
only once for each: the mirror's pool is as large as its manual says, all of it to one server, and each connection is in
use. For a checkout that asks the same server the node finds no port, and throws its SYNs away without a word. The
server is well, a third program asks another one through the same ports, and the table is nearly empty although packets
are dropped there (insert_failed, drop).
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import GAVE_UP, ConnectCase, call, calls, named
from lab.load import keep_busy
from lab.look import Sight, connections, wait_until
from lab.node import PODS, Node
from lab.servers import nginx
from lab.stage import Pod, inside
from lab.table import Table

FIRST, PORTS, KEPT = 40_000, 64, 5
SHARE = f"masquerade to :{FIRST}-{FIRST + PORTS - 1}"
SERVER, OTHER_SERVER = "203.0.113.80", "203.0.113.81"
"""One nginx has both addresses; to the node they are two destinations."""

FAR_FROM_FULL = 1000
"""Far below any limit that a machine has."""


class NatPortsUsedUpByPool(ConnectCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "mirror", "web", "checkout")
        self.mirror_pod, self.web_pod, pod = self.node.pods
        leaving = f"insert rule inet lab uplink oifname eth0 ip saddr {PODS} meta l4proto tcp"
        inside(self.node.host, "nft", f"{leaving} {SHARE}")
        self.server = nginx(self.stage, self.node.outside)
        self.web = self.stage.play(self.web_pod, "web", keep_busy, OTHER_SERVER, 80, KEPT, 1)
        self.mirror = self.stage.play(self.mirror_pod, "mirror", keep_busy, SERVER, 80, PORTS, 2)
        wait_until(lambda: self.opened(self.mirror_pod) == PORTS, 20, self.stage.logs)
        self.client = self.stage.play(pod, "checkout", call, [(SERVER, 80)], 10, 2)

    def opened(self, pod: Pod) -> int:
        return len(connections(pod.netns).where("ESTAB", peer_port=80))

    def look(self) -> Sight:
        made, table = calls(self.client), Table(self.node.host.netns)
        held, others = self.opened(self.mirror_pod), self.opened(self.web_pod)
        counters = table.statistics
        thrown_away = max(counters["insert_failed"], counters["drop"])
        there = made.share(GAVE_UP) == 1.0 and min(len(made), thrown_away) >= 20 and table.count < FAR_FROM_FULL
        seen = f"{held} of {PORTS} ports held by the mirror; web: {others}; {table}; checkout: {made}"
        return Sight(there and held == PORTS and others == KEPT, seen)

    def expected(self) -> Expected:
        """To say that the mirror takes the ports is right. Who says that its pool is too large may be wrong."""
        return Expected(
            rule="connect-timeout",
            severities=("warning", "critical"),
            tolerated=(self.mirror.who(),),
            innocent=(self.client.who(), self.server.who(), self.web.who()),
            bystanders=(self.web.who(),),
            others=(named(self.client),),
            endpoint=(SERVER, 80),
        )
