"""Downloads at the pace of their player, through a sidecar: full queues on three hops, and all of it moves.

The sidecar (haproxy) is in the player's own pod and is spoken to over loopback; onwards it speaks IPv6. It reads from
nginx as slowly as the player does from it, and is under the same pressure as nginx.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.stopped_reader import DOWNLOADS, download, was_reading
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections, never_read
from lab.servers import haproxy, nginx

PORT = 15001


class SlowReaderBehindSidecar(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10
    ready_within_seconds = 90

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.sidecar = haproxy(self.stage, self.client_pod, PORT, f"[{self.server_pod.address6}]:80")
        self.client = self.stage.play(self.client_pod, "player", download, f"127.0.0.1:{PORT}")
        self.acked = 0

    def look(self) -> Sight:
        near = never_read(self.client_pod.netns, self.client_pod.netns, PORT, at_least=DOWNLOADS - 5)
        far = connections(self.server_pod.netns).where("ESTAB", local_port=80).unsent
        before, self.acked = self.acked, sum(c.acked for c in connections(self.server_pod.netns).where(local_port=80))
        moved = self.acked - before
        there = near.there and len(far) >= DOWNLOADS - 5 and was_reading(self.server_pod) and moved > 0
        return Sight(there, f"near: {near.seen}; nginx: {far} with full send queues; {moved} bytes acked since")

    def expected(self) -> Expected:
        also = ("tcp-memory",) if short_of_tcp_memory() else ()
        return Expected(rule=None, also=also, innocent=(self.server.who(), self.sidecar.who(), self.client.who()))
