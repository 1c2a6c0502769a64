"""The same with Apache, which closes after 5 s and then goes on reading for up to 2 s (a lingering close).

A request in that time is swallowed without a reset; one that comes later is reset. Both fail.
"""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import apache
from lab.stage import Player


class KeepaliveApache(PairCase):
    kind = "fault"
    server_waits = (5.0, 5.0)
    idle = (5.2, 9.0)
    port = 80
    window_seconds = 10

    def serve(self) -> Player:
        return apache(self.stage, self.server_pod, self.port)
