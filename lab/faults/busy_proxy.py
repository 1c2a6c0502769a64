"""A proxy that rightly holds most sockets of the node: twelve hundred clients, and one connection to nginx for each."""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.busy_server import crowd
from lab.look import Sight, connections
from lab.servers import haproxy, nginx

CLIENTS = 1200


class BusyProxy(Case):
    kind = "look-alike"
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, self.proxy_pod, self.server_pod = self.stage.pods("clients", "proxy", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.proxy = haproxy(self.stage, self.proxy_pod, 8080, f"{self.server_pod.address}:80")
        self.clients = self.stage.play(self.client_pod, "browsers", crowd, self.proxy_pod.address, 8080, CLIENTS)

    def look(self) -> Sight:
        held = connections(self.proxy_pod.netns).where("ESTAB")
        return Sight(len(held) == 2 * CLIENTS, f"proxy holds {held}, {len(held.unread)} with unread data")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.proxy.who(), self.server.who(), self.clients.who()))
