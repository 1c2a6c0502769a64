"""The client of incident 5, which does not look, and a server that waits longer than it pauses: 8 s."""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import uvicorn
from lab.stage import Player


class KeepaliveServerWaitsLonger(PairCase):
    kind = "look-alike"
    quick = True
    window_seconds = 9
    server_waits = (8.0, 8.0)

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=8)
