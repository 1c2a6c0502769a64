"""Incident 5 with HAProxy between client and server, and nothing fails: it drops what the server has closed.

Uvicorn closes what was idle for 1 s, and the client pauses a little longer before each request: every time the proxy's
connection onwards is gone, which it was told at once, and it opens another.
"""

from __future__ import annotations

from lab.case import Expected
from lab.keepalive import ENOUGH, WatchedCase
from lab.look import Sight, connections
from lab.pools import stopwatch, told, with_http_client
from lab.servers import haproxy, uvicorn

PORT, PROXY_PORT = 8000, 8080
IDLE = (1.2, 1.5)


class KeepaliveProxyThatLooks(WatchedCase):
    kind = "look-alike"
    rules_unread = True
    server_waits = (1.0, 1.0)

    def start(self) -> None:
        self.client_pod, self.proxy_pod, self.server_pod = self.stage.pods("client", "proxy", "server")
        server, proxy = self.server_pod.address, self.proxy_pod.address
        self.server = uvicorn(self.stage, self.server_pod, PORT, keep_alive_seconds=1)
        self.watch = self.stage.play(self.proxy_pod, "stopwatch", stopwatch, server, PORT, 2)
        self.proxy = haproxy(self.stage, self.proxy_pod, PROXY_PORT, f"{server}:{PORT}", mode="http")
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, [proxy], PROXY_PORT, 1, IDLE)

    def look(self) -> Sight:
        """Uvicorn has closed more than those of the stopwatch: the proxy's."""
        sight = self.measured(self.answered(self.client))
        closed = connections(self.server_pod.netns).where("TIME-WAIT", local_port=PORT)
        of_proxy = len(closed) - len(told(self.watch, "closed"))
        return Sight(sight.there and of_proxy >= ENOUGH - 1, f"{sight.seen}; {of_proxy} of the proxy's were closed")

    def expected(self) -> Expected:
        parts = (self.server, self.proxy, self.client, self.watch)
        return Expected(rule=None, innocent=tuple(one.who() for one in parts))
