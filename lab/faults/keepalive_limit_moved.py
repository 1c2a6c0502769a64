"""Incident 5 after the first attempt to mend it: the server waits twice as long, and requests fail after that."""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import uvicorn
from lab.stage import Player


class KeepaliveLimitMoved(PairCase):
    kind = "fault"
    window_seconds = 12
    server_waits = (10.0, 10.0)
    idle = (10.2, 11.5)

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=10)
