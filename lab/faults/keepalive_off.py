"""A server without keep-alive (`Connection: close`): it closes each connection first, and at once.

Nothing was idle, so what is measured here is no timeout, although nobody's pauses are as short.
"""

from __future__ import annotations

from lab.case import Expected
from lab.keepalive import KeepaliveCase
from lab.look import Sight, connections
from lab.pools import with_http_client
from lab.servers import nginx


class KeepaliveOff(KeepaliveCase):
    kind = "look-alike"
    window_seconds = 5

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod, keep_alive="0")
        servers = [self.server_pod.address]
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, servers, 80, 20, (1.0, 2.0))

    def look(self) -> Sight:
        """Who closes first has the connection in TIME_WAIT."""
        sight = self.answered(self.client)
        closed_there = connections(self.server_pod.netns).where("TIME-WAIT", local_port=80)
        there = sight.there and len(closed_there) >= len(connections(self.client_pod.netns).where("TIME-WAIT"))
        return Sight(there, f"{sight.seen}; {len(closed_there)} TIME-WAIT at the server")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
