"""Downloads at the pace of their player: every queue is full and every window mostly closed, yet all of it moves.

Thirty downloads, each read at 100 kB a second. A look at one moment shows what a leak shows; a second look shows that
the client does read.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.stopped_reader import DOWNLOADS, download, was_reading
from lab.look import Sight, connections, never_read
from lab.servers import nginx


class SlowReader(Case):
    kind = "look-alike"
    quick = True
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "player", download, self.server_pod.address)
        self.acked = 0

    def look(self) -> Sight:
        full = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=DOWNLOADS - 5)
        served = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        before, self.acked = self.acked, sum(c.acked for c in served)
        moved = self.acked - before
        return Sight(
            full.there and was_reading(self.server_pod) and moved > 0, f"{full.seen}; {moved} bytes acked since"
        )

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
