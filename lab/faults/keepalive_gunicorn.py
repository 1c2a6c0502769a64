"""The shortest default there is: gunicorn closes a connection that was idle for 2 s, here and there one later.

Three seconds between two requests are enough for the client's pool (http.client) to ask on a dead connection.
"""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import gunicorn
from lab.stage import Player


class KeepaliveGunicorn(PairCase):
    kind = "fault"
    server_waits = (2.0, 2.5)
    idle = (3.2, 4.2)

    def serve(self) -> Player:
        return gunicorn(self.stage, self.server_pod, self.port)
