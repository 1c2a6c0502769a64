"""The same with Node, whose server promises 5 s in each response, and closes then or, in later releases, after 6 s.

It listens on IPv6 and is called on IPv4, so that its own sockets have the client's address in the form of IPv6.
"""

from __future__ import annotations

from lab.keepalive import PairCase
from lab.servers import node_http
from lab.stage import Player


class KeepaliveNode(PairCase):
    kind = "fault"
    window_seconds = 8
    server_waits = (5.0, 6.0)
    idle = (6.2, 7.5)

    def serve(self) -> Player:
        return node_http(self.stage, self.server_pod, self.port)
