"""The same with nginx over IPv6, set to close after 3 s."""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import nginx
from lab.stage import Player


class KeepaliveNginx(PairCase):
    kind = "fault"
    server_waits = (3.0, 3.0)
    idle = (3.2, 4.5)
    port = 80

    @property
    def address(self) -> str:
        return self.server_pod.address6

    def serve(self) -> Player:
        return nginx(self.stage, self.server_pod, self.port, keep_alive="3s")
