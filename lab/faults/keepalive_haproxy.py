"""Incident 5 with a proxy as the server: HAProxy waits 3 s (http-keep-alive), and the client's pool keeps for ever.

nginx behind it would wait for an hour, and has no part in it.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.keepalive import PairCase
from lab.servers import haproxy, nginx
from lab.stage import Player


class KeepaliveHaproxy(PairCase):
    kind = "fault"
    rules_unread = True
    server_waits = (3.0, 3.0)
    idle = (3.2, 4.5)

    def serve(self) -> Player:
        self.backend = nginx(self.stage, self.server_pod)
        upstream = f"{self.address}:80"
        return haproxy(self.stage, self.server_pod, self.port, upstream, mode="http", keep_alive="3s")

    def expected(self) -> Expected:
        meant = super().expected()
        return replace(meant, innocent=(*meant.innocent, self.backend.who()))
