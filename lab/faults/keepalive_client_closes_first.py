"""The server and the pauses of incident 5, and a pool that is set right: it closes what was idle for 3 s.

That is the fix: each request has to connect anew, the server has nothing left to close, and none fails.
"""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.look import Sight, connections
from lab.pools import with_node
from lab.servers import uvicorn
from lab.stage import Player


class KeepaliveClientClosesFirst(PairCase):
    kind = "look-alike"
    server_waits = (5.0, 5.0)

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=5)

    def call(self) -> Player:
        options = '{"keepAlive": true, "timeout": 3000}'
        return with_node(self.stage, self.client_pod, self.url, self.connections, self.idle, options)

    def look(self) -> Sight:
        """Who closes first has the connection in TIME_WAIT."""
        sight = super().look()
        closed_here = connections(self.client_pod.netns).where("TIME-WAIT", peer_port=self.port)
        return Sight(
            sight.there and len(closed_here) >= self.connections, f"{sight.seen}; {len(closed_here)} TIME-WAIT"
        )
