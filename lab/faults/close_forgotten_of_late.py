"""The leak began seconds ago: hundreds of connections that the peer has closed, and none of them is half a minute old.

A server that drains looks the same for as long. But nobody closes one, and there are more each second: who looks that
early has to hear of it, as of something that may be.
"""

from __future__ import annotations

from lab.case import Expected
from lab.faults import close_forgotten
from lab.look import Sight, connections


class CloseForgottenOfLate(close_forgotten.CloseForgotten):
    pause_seconds = 0.02
    window_seconds = 5
    age_seconds = 1

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=8000)
        return Sight(len(waiting) >= 200, f"{waiting} in CLOSE-WAIT")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("close-forgotten",),
            severities=("info",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 8000),
        )
