"""Large uploads through a proxy whose way onwards is slow: it holds full queues on both of its sides, and all moves.

Six uploads share the 8 Mbit/s between haproxy and the store, which reads at once what arrives. haproxy cannot send, so
it does not read, so the clients cannot send either: as behind a peer that never reads, but for what is acknowledged.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.slow_upload import UPLOADS, store, upload
from lab.look import Connections, Sight, connections
from lab.servers import haproxy, up

PORT = 9000


class SlowUploadThroughProxy(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10
    age_seconds = 15

    def start(self) -> None:
        self.client_pod, self.proxy_pod, self.server_pod = self.stage.pods("client", "proxy", "server")
        self.server = self.stage.play(self.server_pod, "store", store)
        up(self.stage, self.server_pod, self.server, PORT)
        self.proxy = haproxy(self.stage, self.proxy_pod, PORT, f"{self.server_pod.address}:{PORT}")
        self.stage.slow(self.proxy_pod, "8mbit")
        at = self.proxy_pod.address
        self.uploads = [self.stage.play(self.client_pod, f"backup-{n}", upload, at) for n in range(UPLOADS)]
        self.acked = self.acked_onwards = 0

    def look(self) -> Sight:
        near = connections(self.client_pod.netns).where("ESTAB", peer_port=PORT).unsent
        far = connections(self.proxy_pod.netns).where("ESTAB", peer_port=PORT).unsent
        moved = acked(near) - self.acked, acked(far) - self.acked_onwards
        begun = min(self.acked, self.acked_onwards) > 500_000
        self.acked, self.acked_onwards = acked(near), acked(far)
        unread = connections(self.proxy_pod.netns).where("ESTAB", local_port=PORT).unread
        there = begun and len(near) == len(far) == UPLOADS and len(unread) >= 1 and moved[1] > 0
        return Sight(there, f"clients {near} unsent, proxy {unread} unread and {far} unsent; {moved} bytes acked since")

    def expected(self) -> Expected:
        parts = (self.proxy.who(), self.server.who(), *(player.who() for player in self.uploads))
        return Expected(rule=None, innocent=parts)


def acked(found: Connections) -> int:
    return sum(connection.acked for connection in found)
