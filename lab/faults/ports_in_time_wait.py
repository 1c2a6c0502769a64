"""A client that opens and closes a connection for each request, until all its local ports only wait (TIME_WAIT).

No socket is held open and none leaks: each port towards that server waits for a minute after its connection was closed,
and may not be used again meanwhile (tcp_tw_reuse=0, as old tuning guides have it). The next connect fails in the call
itself. The server has nothing to do with it, and neither has another program of the pod that asks another server.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected, Named
from lab.connects import ANSWERED, call, calls, serve
from lab.look import Sight, connections
from lab.servers import up
from lab.stage import inside

PORT, PORTS = 8080, 200
SETTINGS = ("net.ipv4.tcp_tw_reuse=0", f"net.ipv4.ip_local_port_range=40000 {40_000 + PORTS - 1}")
FAILED = "EADDRNOTAVAIL"


class PortsInTimeWait(Case):
    kind = "fault"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    rules_unread = True
    age_seconds = 0

    def start(self) -> None:
        self.pod, *servers = self.stage.pods("client", "orders", "stock")
        inside(self.pod, "sysctl", "-qw", *SETTINGS)
        self.servers = [self.stage.play(pod, pod.namespace.rpartition("-")[2], serve, PORT) for pod in servers]
        for pod, player in zip(servers, self.servers, strict=True):
            up(self.stage, pod, player, PORT)
        self.client = self.stage.play(self.pod, "checkout", call, [(servers[0].address, PORT)], 30, 2)
        self.other = self.stage.play(self.pod, "web", call, [(servers[1].address, PORT)], 1, 2)

    def look(self) -> Sight:
        made, others, seen = calls(self.client), calls(self.other), connections(self.pod.netns)
        waiting, opened = seen.where("TIME-WAIT"), seen.where("ESTAB")
        there = len(made.where(FAILED)) >= 60 and len(waiting) >= PORTS - 5 and others.share(ANSWERED) == 1.0
        return Sight(there, f"{len(waiting)} wait, {len(opened)} are open; {made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="port-exhaustion",
            also=("connect-refused",),
            severities=("warning", "critical"),
            tolerated=(self.client.who(),),
            innocent=(self.other.who(), *(server.who() for server in self.servers)),
            bystanders=(self.other.who(), self.servers[1].who()),
            others=(Named(self.client.who(), ("culprit", "holder", "victim")),),
            mentions=("TIME_WAIT",),
        )
