"""Incident 5: requests that fail only after a pause of more than five seconds.

Uvicorn closes a connection that was idle for 5 s. The client's pool (http.client) does not look: it asks on the dead
connection, is reset, and at once succeeds on a new one. Beside it one of requests, which looks before it asks, has the
same pauses and no trouble.
"""

from __future__ import annotations

from lab.case import Expected
from lab.keepalive import PairCase, mismatch
from lab.look import Sight
from lab.pools import told, went, with_requests
from lab.servers import uvicorn
from lab.stage import Player


class KeepaliveUvicorn(PairCase):
    kind = "fault"
    quick = True
    server_waits = (5.0, 5.0)

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=5)

    def start(self) -> None:
        super().start()
        self.careful = self.stage.play(self.client_pod, "invoices", with_requests, self.url, 5, self.idle)

    def look(self) -> Sight:
        sight = super().look()
        careful = bool(told(self.careful, "answered")) and not told(self.careful, "failed")
        return Sight(sight.there and careful, f"{sight.seen}; {went(self.careful)}")

    def expected(self) -> Expected:
        return mismatch(self.client, self.server, (self.address, self.port), self.watch, self.careful)
