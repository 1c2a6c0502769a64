"""The pauses of incident 5 before the server of incident 5, and no request fails: all pools here look first.

requests finds out when it is about to ask again, and has the connection in CLOSE_WAIT until then; httpx too. aiohttp
and Node's agent are told at once. Each as it is shipped.
"""

from __future__ import annotations

from lab.case import Expected
from lab.keepalive import WatchedCase
from lab.look import Sight, connections
from lab.pools import stopwatch, with_aiohttp, with_httpx, with_node, with_requests
from lab.servers import uvicorn

PORT = 8000
IDLE = (5.2, 6.5)
POOLS = 15


class KeepalivePoolsThatLook(WatchedCase):
    kind = "look-alike"
    server_waits = (5.0, 5.0)

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = uvicorn(self.stage, self.server_pod, PORT, keep_alive_seconds=5)
        self.watch = self.stage.play(self.client_pod, "stopwatch", stopwatch, self.server_pod.address, PORT, 5)
        url = f"http://{self.server_pod.address}:{PORT}/"
        self.clients = [
            self.stage.play(self.client_pod, f"pool-{name}", ask, url, POOLS, IDLE)
            for name, ask in (("requests", with_requests), ("httpx", with_httpx), ("aiohttp", with_aiohttp))
        ]
        self.clients.append(with_node(self.stage, self.client_pod, url, POOLS, IDLE, '{"keepAlive": true}'))

    def look(self) -> Sight:
        """Some connections wait in CLOSE_WAIT for the next request."""
        sight = self.measured(self.answered(*self.clients))
        left = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=PORT)
        return Sight(sight.there, f"{sight.seen}; {len(left)} in CLOSE-WAIT")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=tuple(one.who() for one in (self.server, self.watch, *self.clients)))
