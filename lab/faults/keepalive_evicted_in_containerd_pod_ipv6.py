"""What mended incident 5, in a real pod over IPv6: the pool closes what was idle for 3 s, the server after 5 s.

aiohttp is told to keep a connection for 3 s (keepalive_timeout) and closes it then, whether or not anybody asks again;
Uvicorn would after 5 s. The pauses are those of the incident. Each request has to connect anew, and none fails.
"""

from __future__ import annotations

from lab.case import Expected
from lab.containerd import Containerd
from lab.keepalive import ENOUGH, WatchedCase
from lab.look import Sight, connections
from lab.node import Node
from lab.pools import stopwatch, with_aiohttp
from lab.servers import serve_uvicorn, up

PORT, SESSIONS, IDLE, KEPT_SECONDS = 8000, 20, (5.2, 6.5), 3.0


class KeepaliveEvictedInContainerdPodIpv6(WatchedCase):
    kind = "look-alike"
    rules_unread = True
    server_waits = (5.0, 5.0)

    def start(self) -> None:
        self.node = Node(self.stage, "server", "watch")
        server, watch = self.node.pods
        address = server.address6
        self.server = self.stage.play(server, "uvicorn", serve_uvicorn, address, PORT, 5, 0.0)
        up(self.stage, server, self.server, PORT)
        self.watch = self.stage.play(watch, "stopwatch", stopwatch, address, PORT, 5)
        self.containerd = Containerd(self.stage, self.node, ipv6=True)
        evicting = (f"http://[{address}]:{PORT}/small", SESSIONS, IDLE, KEPT_SECONDS)
        self.client = self.containerd.play("orders", "orders", with_aiohttp, *evicting)

    def look(self) -> Sight:
        """Who closes first has the connection in TIME_WAIT."""
        lines = self.client.log.read_text().splitlines() if self.client.log.exists() else []
        outcomes = [line.split()[3] for line in lines if len(line.split()) > 3]  # after time, stream and F for full
        answered, failed = outcomes.count("answered"), outcomes.count("failed")
        closed_here = connections(self.client.netns).where("TIME-WAIT", peer_port=PORT)
        there = answered >= ENOUGH and not failed and len(closed_here) >= SESSIONS
        seen = f"{answered} answered after a pause, {failed} failed, {len(closed_here)} TIME-WAIT at the client"
        return self.measured(Sight(there, seen))

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who(), self.watch.who()))
